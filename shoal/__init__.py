"""What the tiers share."""

__version__ = "0.1.0"
