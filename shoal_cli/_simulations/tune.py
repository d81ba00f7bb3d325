"""`shoal tune`: which settings of the controller suit an arrival pattern."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from shoal import settings
from shoal.prices import dollars
from shoal_cli._simulations._options import arrival_options, scenario, simulation_options, with_arrivals
from shoal_cli._simulations._page import of_tuning
from simulator import plots
from simulator.tuning import POLICIES, Tried, best, candidates, frontier, tune


@click.command(short_help="Try settings of the controller on recorded arrivals.")
@arrival_options
@simulation_options
def command(**values: Any) -> None:
    """Try settings of the controller on made or recorded arrivals, and print those that no other beats.

    Tries each policy with minimums of 0 to 2 machines and several quiet times and windows. The settings of the cheapest
    that labels 99 % of the photos within the target are printed for `shoal set`.
    """
    chosen, times, seconds = with_arrivals(**values)
    simulated = scenario(chosen, settings.load_with_own_file(), times, seconds)
    boot, most = simulated.machines.boot.mean, simulated.terms.limits.most
    asked = candidates(chosen.policies or POLICIES, boot, most)
    with _bar(len(asked)) as tell:
        tried = tune(asked, simulated, tell)
    kept, wanted = frontier(tried), best(tried)
    if chosen.png:
        plots.draw_tuning(tried, kept, wanted, simulated.terms.target_seconds, chosen.png)
    if chosen.html:
        target = simulated.terms.target_seconds
        plot = plots.tuning_svg(tried, kept, wanted, target)
        words = list(_words(kept, wanted, target))
        chosen.html.write_text(of_tuning(HEAD, _rows(kept, wanted), words, plot, simulated), encoding="utf-8")
    if chosen.as_json:
        found = {"frontier": [_fields(one) for one in kept], "best": _fields(wanted) if wanted else None}
        click.echo(json.dumps(found))
    else:
        _print(kept, wanted, len(asked), simulated.terms.target_seconds)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    columns = ("simulating", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda number: progress.update(task, completed=number)


def _fields(one: Tried) -> dict[str, Any]:
    return {"settings": one.candidate.variables(), "figures": one.figures.to_dict()}


HEAD = ("policy", "minimum", "quiet s", "window s", "p50", "p95", "in time", "1,000", "month")


def _print(kept: Sequence[Tried], wanted: Tried | None, count: int, target: float) -> None:
    console = Console(highlight=False)
    table = Table(*HEAD, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    for row in _rows(kept, wanted):
        table.add_row(*row)
    console.print(f"Of {count} settings these are not beaten by another that is both cheaper and sooner (p95):")
    console.print(table)
    for sentence in _words(kept, wanted, target):
        console.print(sentence, soft_wrap=True)


def _rows(kept: Sequence[Tried], wanted: Tried | None) -> list[list[str]]:
    return [_cells(one, "*" if one == wanted else "") for one in kept]


def _cells(one: Tried, mark: str) -> list[str]:
    row, tried = one.figures, one.candidate
    return [
        f"{tried.policy}{mark}",
        str(tried.least),
        f"{tried.quiet:g}",
        f"{tried.window:g}",
        f"{row.wait_p50:.1f}",
        f"{row.wait_p95:.1f}",
        f"{100 * row.within:.1f} %",
        dollars(row.per_1000, 2),
        dollars(row.month, 2),
    ]


def _words(kept: Sequence[Tried], wanted: Tried | None, target: float) -> Iterator[str]:
    if wanted is None:
        yield f"None labels 99 % of the photos within {target:g} s."
        return
    yield f"The cheapest that labels 99 % within {target:g} s{' (*)' if wanted in kept else ''}:"
    words = " ".join(f"{name}={value}" for name, value in wanted.candidate.variables().items())
    yield f"  shoal set {words}"
