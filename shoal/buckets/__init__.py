"""What the tiers keep in the buckets beside photos and results."""
