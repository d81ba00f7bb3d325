"""What an attacker may try on a whole Shoal, and what others feel of it."""
