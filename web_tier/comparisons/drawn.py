"""What a page draws of a comparison: a bar of the parts of the time for each lane, and a plot of costs. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparison.costs import MonthlyCost
from comparison.figures import PARTS, LaneFigures
from web_tier.results.timeline import Stage
from web_tier.watching.plots import HEIGHT, WIDTH, Line, Plot
from web_tier.words import duration

DECADES = 6  # from one image a day to a million
POINTS = 60


@dataclass(frozen=True, slots=True)
class LaneBar:
    """The parts of the mean time of a lane; the slowest lane fills its bar. duration: all of them, in words."""

    name: str
    duration: str
    stages: tuple[Stage, ...]


def bars(rows: Sequence[LaneFigures]) -> list[LaneBar]:
    """A bar for each lane that was measured."""
    measured = [row for row in rows if row.seconds]
    longest = max((row.seconds["total"].mean for row in measured), default=0.0) or 1.0
    return [_bar(row, longest) for row in measured]


def _bar(row: LaneFigures, longest: float) -> LaneBar:
    stages, start = list[Stage](), 0.0
    for part in PARTS[:-1]:
        mean = row.seconds[part].mean
        width = 100 * mean / longest
        stages.append(Stage(part, duration(mean, exact=True), round(start, 2), round(width, 2)))
        start += width
    return LaneBar(str(row.lane), duration(row.seconds["total"].mean, exact=True), tuple(stages))


def months(costs: Mapping[str, MonthlyCost], images_a_day: int) -> Plot:
    """What a month costs against images a day, a line for each venue; both axes are logarithmic.

    The key tells the cost at `images_a_day`. The lower edge is nothing: the height is that of 1 dollar + the cost.
    """
    volumes = [10 ** (DECADES * at / POINTS) for at in range(POINTS + 1)]
    largest = max((cost.month(volumes[-1]) for cost in costs.values()), default=0.0)
    most = 10 ** max(1, math.ceil(math.log10(largest or 1)))
    lines = [
        Line(venue, _path(cost, volumes, most), f"${cost.month(images_a_day):,.2f}") for venue, cost in costs.items()
    ]
    return Plot("Dollars a month", f"${most:,}", tuple(lines))


def _path(cost: MonthlyCost, volumes: Sequence[float], most: float) -> str:
    step = WIDTH / (len(volumes) - 1)
    places = [
        f"{at * step:.1f} {HEIGHT * (1 - math.log1p(cost.month(volume)) / math.log1p(most)):.1f}"
        for at, volume in enumerate(volumes)
    ]
    return "M" + "L".join(places)
