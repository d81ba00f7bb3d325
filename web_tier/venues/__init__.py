"""The places where a model can run, one file each."""
