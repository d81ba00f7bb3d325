"""A comparison as JSON and as the rows of a CSV file. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from comparison.answer import Verdict
from comparison.costs import MonthlyCost, per_thousand
from comparison.figures import PARTS, LaneFigures

VOLUMES = (100, 1_000, 10_000, 100_000, 1_000_000)
SPREAD = ("mean", "sd", "least", "most", "p50", "p95")
COLUMNS = (
    *("venue", "size", "labelled", "failed", "cold_seconds", "kept_seconds", "images_per_second", "sent_bytes"),
    *("fetched_bytes", "peak_bytes", "agreement"),
    *(f"{part}_{figure}" for part in PARTS for figure in SPREAD),
    "error",
)


def as_json(
    rows: Sequence[LaneFigures], costs: Mapping[str, MonthlyCost], volume: int, answer: Verdict
) -> dict[str, Any]:
    """All figures; seconds, bytes and US dollars. Costs a month are modelled, the rest is measured."""
    return {
        "answer": str(answer),
        "lanes": [_lane(row) for row in rows],
        "costs": {
            venue: {
                "per_1000_images": per_thousand(cost, volume),
                "a_month": {str(a_day): cost.month(a_day) for a_day in sorted({*VOLUMES, volume})},
            }
            for venue, cost in costs.items()
        },
    }


def csv_rows(rows: Sequence[LaneFigures]) -> Iterator[dict[str, Any]]:
    """A line for each lane, with COLUMNS."""
    for row in rows:
        told = _lane(row)
        spreads = {
            f"{part}_{figure}": value
            for part, spread in told.pop("seconds").items()
            for figure, value in spread.items()
        }
        yield {**told, **spreads}


def _lane(row: LaneFigures) -> dict[str, Any]:
    return {
        "venue": row.lane.venue,
        "size": row.lane.size,
        "labelled": row.labelled,
        "failed": row.failed,
        "cold_seconds": row.cold,
        "kept_seconds": row.kept or None,
        "images_per_second": row.images_per_second,
        "sent_bytes": row.sent_bytes,
        "fetched_bytes": row.fetched_bytes,
        "agreement": row.agreement,
        "peak_bytes": row.peak_bytes or None,
        "seconds": {part: asdict(spread) for part, spread in row.seconds.items()},
        "error": row.why,
    }
