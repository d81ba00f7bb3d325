"""The commands that keep a state and bring it back: one file a command."""
