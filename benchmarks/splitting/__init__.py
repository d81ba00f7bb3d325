"""Split inference beside published figures."""
