"""The routes of bulk runs: the API, the pages, and what both do."""
