"""Random input, guided by what it makes the code do: `python -m benchmarks.fuzzing`."""
