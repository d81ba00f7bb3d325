"""Lines over time as paths of an SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 300.0, 80.0

Points = Sequence[tuple[float, float]]  # (seconds since 1970, value), in the order of time


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot. path: the `d` of an SVG path in WIDTH x HEIGHT. now: its last value."""

    name: str
    path: str
    now: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot. most: the value at its upper edge."""

    title: str
    most: str
    lines: tuple[Line, ...]


def plot(title: str, begin: float, end: float, values: Mapping[str, Points], steps: bool = True) -> Plot:
    """Draw lines between two times. steps: a value holds until the next; else straight lines join them."""
    most = _round_up(max((value for points in values.values() for _, value in points), default=0.0))
    lines = []
    for name, points in values.items():
        places = [((at - begin) / (end - begin) * WIDTH, HEIGHT * (1 - value / most)) for at, value in points]
        now = _number(points[-1][1]) if points else "–"
        lines.append(Line(name, _path(places, steps), now))
    return Plot(title, _number(most), tuple(lines))


def _path(places: Sequence[tuple[float, float]], steps: bool) -> str:
    if not places:
        return ""
    (x, y), *rest = places
    move = "H{0:.1f}V{1:.1f}" if steps else "L{0:.1f} {1:.1f}"
    return f"M{x:.1f} {y:.1f}" + "".join(move.format(*place) for place in rest)


def _round_up(value: float) -> float:
    """The next number of the series 1, 2, 5, 10, 20, 50 ..."""
    if value <= 1:
        return 1.0
    size = 10.0 ** math.floor(math.log10(value))
    return next(size * step for step in (1, 2, 5, 10) if size * step >= value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
