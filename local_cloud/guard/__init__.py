"""Checks every call to this cloud: the host it names, its signature, and what its caller may do."""
