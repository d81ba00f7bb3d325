"""What the bulk runs need of the pool."""
