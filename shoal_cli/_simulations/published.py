"""`shoal published`: figures that others have published, beside what the simulator says of them."""

from __future__ import annotations

import json
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from simulator.published import Published, reproduce


@click.command(short_help="Compare published figures with the simulator's.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def command(as_json: bool) -> None:
    """Print figures that others have published for systems like this one, what the simulator says, and why they differ.

    The publications do not say how many machines there were and by which rule they were launched. So each figure
    stands beside several assumptions.
    """
    found = reproduce()
    if as_json:
        click.echo(json.dumps([_fields(one) for one in found]))
        return
    for one in found:
        _print(one)


def _print(one: Published) -> None:
    console = Console(highlight=False)
    console.print(f"{one.title}:", style="bold", soft_wrap=True)
    table = Table("", *one.heads, box=None, padding=(0, 1, 0, 0), header_style="bold")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row("published", *(f"{value:g}" for value in one.figures))
    for row in one.reproduced:
        table.add_row(row.assumption.words, *(f"{value:.4g}" for value in row.found))
    console.print(table)
    for sentence in one.why:
        console.print(sentence, soft_wrap=True)
    console.print()


def _fields(one: Published) -> dict[str, Any]:
    return {
        "title": one.title,
        "figures": dict(zip(one.heads, one.figures, strict=True)),
        "simulated": {row.assumption.words: dict(zip(one.heads, row.found, strict=True)) for row in one.reproduced},
        "why": one.why,
    }
