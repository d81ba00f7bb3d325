"""Bulk runs: what a run is, and each step of its work as a function of the ports. Knows no tier and no model."""
