"""Photos that may end a worker's process: they are noted while they are open, counted, and tried alone."""
