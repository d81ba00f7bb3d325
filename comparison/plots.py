"""Draws a comparison: the four parts of the time of each lane, and what a month costs against the volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from comparison.costs import MonthlyCost
from comparison.figures import PARTS, LaneFigures

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"transfer": "#3b6ea5", "wait": "#c9a227", "inference": "#4f8a5b"}
LINES = ("#3b6ea5", "#b5483a", "#4f8a5b", "#7a5ca8")
POINTS = 200
DECADES = 6  # from 1 to a million images a day


def draw(rows: Sequence[LaneFigures], costs: Mapping[str, MonthlyCost], file: Path) -> None:
    """Write both plots, side by side, as a PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    times, months = figure.subplots(1, 2)
    _draw_times(times, [row for row in rows if row.seconds])
    _draw_costs(months, costs)
    figure.savefig(file, dpi=110)


def _draw_times(axes: Axes, rows: Sequence[LaneFigures]) -> None:
    names = [str(row.lane) for row in rows]
    left = [0.0] * len(rows)
    for part in PARTS[:-1]:
        widths = [1000 * row.seconds[part].mean for row in rows]
        axes.barh(names, widths, left=left, color=COLOURS[part], label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for at, row in enumerate(rows):
        axes.text(left[at], at, f"  {left[at]:.0f} ms, p95 {1000 * row.seconds['total'].p95:.0f}", va="center")
    axes.set_xlim(0, 1.4 * max(left, default=1.0))
    axes.invert_yaxis()
    axes.set_xlabel("milliseconds an image, mean")
    axes.set_title("Where the time of an image goes")
    axes.legend(loc="lower right")


def _draw_costs(axes: Axes, costs: Mapping[str, MonthlyCost]) -> None:
    volumes = [10 ** (DECADES * at / POINTS) for at in range(POINTS + 1)]
    for at, (venue, cost) in enumerate(costs.items()):
        axes.plot(volumes, [cost.month(volume) for volume in volumes], color=LINES[at % len(LINES)], label=venue)
    axes.set_xscale("log")
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("images a day")
    axes.set_ylabel("US dollars a month, modelled")
    axes.set_title("What a month costs")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
