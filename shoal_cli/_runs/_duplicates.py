"""`shoal runs duplicates`: pictures that are nearly the same."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator

import click

from runs.duplicates import FARTHEST, groups
from runs.rows import BulkRow
from shoal.errors import Permanent
from shoal_cli._batches._counted import counted
from shoal_cli._runs._following import screen
from shoal_cli._runs.export import found


@click.command()
@click.argument("results")
@click.option(
    "--distance", default=4, show_default=True, type=click.IntRange(0, FARTHEST), help="Bits of 64 that differ."
)
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each group: a list of keys.")
def duplicates(results: str, distance: int, as_json: bool) -> None:
    """List groups of photos that are nearly the same, the largest picture first.

    RESULTS is as for `shoal export`: the id of a finished run that was begun with --hash, or where results are. A
    picture of one colour resembles any other of one colour.
    """
    hashes = array("Q", (int(row.picture.hash, 16) for row in _hashed(results)))
    if not hashes:
        raise Permanent("these results have no hashes: `shoal label --hash` makes them")
    found_groups = groups(hashes, distance)
    group_of = {number: at for at, numbers in enumerate(found_groups) for number in numbers}
    members: list[list[BulkRow]] = [[] for _ in found_groups]
    for number, row in enumerate(_hashed(results)):  # once more: the first time, only the hashes were kept
        if number in group_of:
            members[group_of[number]].append(row)
    for rows in members:
        rows.sort(key=lambda row: (-row.picture.width * row.picture.height, -row.entry.size, row.entry.key))
        _tell(rows, as_json)
    extra = len(group_of) - len(members)
    told = f"{counted(len(members), 'group')} of {len(group_of)} photos among {len(hashes)}"
    screen.print(f"{told}: {extra} could go", markup=False)


def _hashed(results: str) -> Iterator[BulkRow]:
    return (photo.row for photo in found(results, "/") if photo.row.picture.hash)


def _tell(rows: list[BulkRow], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([row.entry.key for row in rows], ensure_ascii=False))
        return
    for row in rows:
        click.echo(f"{row.picture.width} x {row.picture.height}, {row.entry.size} bytes  {row.entry.key}")
    click.echo()
