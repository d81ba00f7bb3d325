"""Bulk runs: how fast, how flat in memory, and whether every key is there once though everything is killed."""
