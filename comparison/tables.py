"""A comparison as two tables of words, for a terminal and for a page. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparison.costs import MonthlyCost, per_thousand
from comparison.figures import LaneFigures, TimeSpread


@dataclass(frozen=True, slots=True)
class WordTable:
    """A table; each row has a cell for each name in its head."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def times(rows: Sequence[LaneFigures]) -> WordTable:
    """The parts of the time of each lane."""
    lines = [
        (str(row.lane) if at == 0 else "", part, *_milliseconds(spread))
        for row in rows
        for at, (part, spread) in enumerate(row.seconds.items())
    ]
    head = ("venue", "part", "mean", "SD", "min", "max", "p50", "p95")
    return WordTable("Milliseconds an image", head, tuple(lines))


def summary(rows: Sequence[LaneFigures], costs: Mapping[str, MonthlyCost], volume: int) -> WordTable:
    """The other figures of each lane. volume: images a day that are priced."""
    figures = ("images/s", "first call", "bytes sent", "peak memory", "same label")
    head = ("venue", *figures, "1,000 images", "a month", "failed")
    lines = tuple(_summary_of(row, costs.get(row.lane.venue), volume) for row in rows)
    return WordTable(f"At {volume:,} images a day", head, lines)


def _summary_of(row: LaneFigures, cost: MonthlyCost | None, volume: int) -> tuple[str, ...]:
    return (
        str(row.lane),
        f"{row.images_per_second:.1f}" if row.seconds else "-",
        _first_call(row),
        f"{row.sent_bytes:,.0f}" if row.seconds else "-",
        f"{row.peak_bytes / 1e6:,.0f} MB" if row.peak_bytes else "-",
        f"{100 * row.agreement:.0f} %" if row.agreement is not None else "-",
        f"${per_thousand(cost, volume):.4f}" if cost else "-",
        f"${cost.month(volume):,.2f}" if cost else "-",
        f"{row.failed}: {row.why}" if row.failed else "0",
    )


def _first_call(row: LaneFigures) -> str:
    if row.cold is None:
        return "-"
    return f"{row.cold:.2f} s" + (f", {row.kept:.2f} later" if row.kept else "")


def _milliseconds(spread: TimeSpread) -> list[str]:
    values = (spread.mean, spread.sd, spread.least, spread.most, spread.p50, spread.p95)
    return [f"{1000 * value:.1f}" for value in values]
