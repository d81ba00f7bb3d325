"""What AWS' services cost besides instances: prices.csv, in US dollars in us-east-1, each with its date and source."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

LIST = Path(__file__).with_name("prices.csv")


@cache
def listed() -> dict[str, float]:
    """US dollars for each unit in the list; calls are listed by the thousand."""
    with LIST.open(newline="") as file:
        return {row["what"]: float(row["usd"]) for row in csv.DictReader(file)}


@cache
def noted() -> str:
    """When the oldest of the prices was noted."""
    with LIST.open(newline="") as file:
        return min(row["noted"] for row in csv.DictReader(file))
