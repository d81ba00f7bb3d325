"""The slow lane of a worker: it labels shards of bulk runs while nobody waits for a photo."""
