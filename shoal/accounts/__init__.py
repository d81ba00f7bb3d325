"""Who may use a Shoal: its users and the batches that are theirs, kept in the output bucket below `accounts/`."""
