"""What other tools import: the results of runs in their formats."""
