"""The commands of bulk runs."""
