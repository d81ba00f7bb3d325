"""The commands that simulate: one file a command, and what they share."""
