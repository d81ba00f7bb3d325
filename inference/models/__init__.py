"""One file a model, each with a `MODEL`."""
