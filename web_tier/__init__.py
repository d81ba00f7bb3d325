"""The page and the API: accept photos, queue them, and show the labels as they arrive."""
