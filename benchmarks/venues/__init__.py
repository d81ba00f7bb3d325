"""The venues besides the pool, measured."""
