"""The page and its API: takes photos in, queues them, and shows the labels as they come back."""
