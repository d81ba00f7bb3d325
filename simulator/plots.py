"""Draws a comparison: the backlog and the machines over time, and the cost against the wait with its frontier."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.run import Ran, Sample
from simulator.simulation import Simulation
from simulator.tuning import Tried

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEFAULT = "deadline"
MOST_COURSES = 3
COLOURS = (
    "#3b6ea5", "#b5483a", "#4f8a5b", "#7a5ca8", "#c9a227", "#2b8c8c", "#8c564b", "#7f7f7f", "#d98cb3", "#e07b39",
    "#5d8aa8", "#9aa83a",
)  # fmt: skip
ORACLE = "#111111"
HOUR = 3600.0
BACKLOG, MACHINES = "photos that are not labelled yet", "machines"
INK = "#111112"  # in an SVG: the colour of the page's text
_CLEAR, _TEXT = (
    ("figure.facecolor", "axes.facecolor", "legend.facecolor", "savefig.facecolor"),
    ("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor", "xtick.color", "ytick.color"),
)
_IN_A_PAGE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11, "axes.titlesize": 11, "legend.fontsize": 9,
    "legend.framealpha": 0.0, **dict.fromkeys(_CLEAR, "none"), **dict.fromkeys(_TEXT, INK),
}  # fmt: skip
_NAMED = re.compile(r'(\bid="|url\(#|href="#)')


def draw(found: Simulation, target: float, file: Path) -> None:
    """Write the plots as a PNG. target: seconds, drawn as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    grid = figure.add_gridspec(2, 2)
    backlog, machines = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[1, 0])
    shown = _shown(found)
    _draw_course(backlog, shown, lambda one: one.backlog, BACKLOG)
    _draw_course(machines, shown, lambda one: one.machines, MACHINES)
    _draw_costs(figure.add_subplot(grid[:, 1]), found, target)
    figure.savefig(file, dpi=110)


def as_svg(found: Simulation, target: float) -> list[tuple[str, str]]:
    """The plots for a page: the title and the SVG of each. Text and lines take the colour of the page's text."""
    shown = _shown(found)
    return [
        (BACKLOG, _svg("backlog", lambda axes: _draw_course(axes, shown, lambda one: one.backlog, BACKLOG))),
        (MACHINES, _svg("machines", lambda axes: _draw_course(axes, shown, lambda one: one.machines, MACHINES))),
        ("cost against wait", _svg("costs", lambda axes: _draw_costs(axes, found, target, in_page=True))),
    ]


def tuning_svg(tried: Sequence[Tried], kept: Sequence[Tried], wanted: Tried | None, target: float) -> tuple[str, str]:
    """The plot of a tuning for a page: its title and the SVG."""
    return "cost against wait", _svg("tuning", lambda axes: _draw_tried(axes, tried, kept, wanted, target))


def _svg(name: str, draw_on: Callable[[Axes], None]) -> str:
    """Draw, as an SVG that can stand in a page beside others: its names begin with `name`."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({**_IN_A_PAGE, "svg.hashsalt": name}):
        figure = Figure(figsize=(5, 4), layout="constrained")
        draw_on(figure.subplots())
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    svg = _NAMED.sub(rf"\1{name}-", text[text.index("<svg") :])
    return svg.replace(INK, "currentColor").replace(ORACLE, "currentColor")


def _shown(found: Simulation) -> list[tuple[str, Ran]]:
    """The runs whose course is drawn, with their colours: the default policy, the two cheapest others, the oracle."""
    colours = list(zip(itertools.cycle(COLOURS), found.runs, strict=False))
    ranked = sorted(colours, key=lambda one: (one[1].figures.name != DEFAULT, one[1].figures.cost))
    return [*ranked[:MOST_COURSES], *([(ORACLE, found.oracle)] if found.oracle else [])]


def _draw_course(axes: Axes, runs: Sequence[tuple[str, Ran]], value: Callable[[Sample], int], title: str) -> None:
    for colour, ran in runs:
        hours = [one.at / HOUR for one in ran.course]
        axes.step(hours, list(map(value, ran.course)), lw=1, where="post", color=colour, label=ran.figures.name)
    axes.set_xlabel("hours")
    axes.set_title(title)
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="upper right")


def _draw_costs(axes: Axes, found: Simulation, target: float, in_page: bool = False) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    best = set(found.frontier())
    hollow = "none" if in_page else "white"
    for colour, ran in zip(itertools.cycle(COLOURS), found.runs, strict=False):
        row = ran.figures
        filled = colour if row.name in best else hollow
        axes.scatter(row.wait_p95, row.per_1000, s=70, edgecolor=colour, facecolor=filled, zorder=3)
    # Neighbours have their names above and below, so that both can be read.
    for number, row in enumerate(sorted((ran.figures for ran in found.runs), key=lambda one: one.wait_p95)):
        place = (7, -11) if in_page and number % 2 else (7, 4)
        axes.annotate(row.name, (row.wait_p95, row.per_1000), xytext=place, textcoords="offset points", fontsize=9)
    for name, oracle in (("oracle", found.oracle), ("late oracle", found.late_oracle)):
        if oracle:
            row = oracle.figures
            axes.scatter(row.wait_p95, row.per_1000, s=90, marker="*", color=ORACLE, zorder=4)
            side = {"xytext": (-7, -12), "ha": "right"} if name == "oracle" else {"xytext": (7, -12)}
            axes.annotate(name, (row.wait_p95, row.per_1000), textcoords="offset points", fontsize=9, **side)
    if found.runs:
        bound = 1000 * found.bound.cost / found.runs[0].figures.photos
        axes.axhline(bound, color=ORACLE, lw=0.8, ls=":", label="no policy costs less")
    axes.axvline(target, color="#b5483a", lw=0.8, ls=":", label="target")
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(ScalarFormatter())
        axis.set_minor_formatter(ScalarFormatter())
        if in_page:  # it is small: a number at 1, 2 and 5 only
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("wait of 95 of 100 photos, at most, in seconds")
    axes.set_ylabel("US dollars for 1,000 photos")
    axes.set_title(
        "filled: none is cheaper and sooner"
        if in_page
        else "Cost against wait (filled: no other is both cheaper and sooner)"
    )
    axes.grid(visible=True, which="both", alpha=0.2)
    axes.margins(x=0.25, y=0.15)
    axes.legend(loc="lower right")


def draw_tuning(tried: Sequence[Tried], kept: Sequence[Tried], wanted: Tried | None, target: float, file: Path) -> None:
    """Write the cost of each candidate against its wait, with the frontier, as a PNG. target: seconds, as a line."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    _draw_tried(figure.subplots(), tried, kept, wanted, target)
    figure.savefig(file, dpi=110)


def _draw_tried(axes: Axes, tried: Sequence[Tried], kept: Sequence[Tried], wanted: Tried | None, target: float) -> None:
    axes.scatter(
        [one.figures.wait_p95 for one in tried], [one.figures.per_1000 for one in tried], s=18, color="#9aa0a6"
    )
    line = [(one.figures.wait_p95, one.figures.per_1000) for one in kept]
    axes.plot(*zip(*line, strict=True), "o-", color=COLOURS[0], label="not beaten")
    if wanted:
        at = wanted.figures.wait_p95, wanted.figures.per_1000
        axes.scatter(*at, s=160, marker="*", color=COLOURS[1], zorder=4, label="cheapest with 99 % in the target")
    axes.axvline(target, color=COLOURS[1], lw=0.8, ls=":", label="target")
    axes.set_xlabel("wait of 95 of 100 photos, at most, in seconds")
    axes.set_ylabel("US dollars for 1,000 photos")
    axes.set_title("Settings of the controller: cost against wait")
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
