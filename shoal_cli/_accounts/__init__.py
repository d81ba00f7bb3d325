"""The commands that say who may use a Shoal."""
