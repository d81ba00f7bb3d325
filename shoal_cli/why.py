"""`shoal why`: show what the controller decided lately, and why, from its ledger."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoal import ledger_file, settings
from shoal.errors import NotFound
from shoal.ledger import ActKind, Entry

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
COLOURS: dict[ActKind, str] = {"launch": "green", "drain": "yellow", "terminate": "red"}


class Duration(click.ParamType[float]):
    """10m, 90s, 2h, 1d: a number of seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value))
        if found is None:
            self.fail(f"{value!r} is not like 90s, 10m, 2h or 1d", param, ctx)
        return float(found[1]) * UNITS[found[2]]


@click.command()
@click.option("--last", type=Duration(), default="10m", show_default=True, help="How far back: 90s, 10m, 2h, 1d.")
@click.option("--json", "as_json", is_flag=True, help="Whole entries, one JSON object a line.")
def command(last: float, as_json: bool) -> None:
    """Show what the controller decided, and why."""
    path = settings.load_with_env_file().state_dir / ledger_file.NAME
    entries = list(ledger_file.read(path))
    if not entries:
        raise NotFound(f"there is no ledger in {path}: no controller has run here, or SHOAL_STATE_DIR is another")
    shown = recent(entries, time.time() - last)
    if as_json:
        for entry in shown:
            click.echo(entry.to_json())
        return
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(shown))
    else:
        for entry in shown:
            click.echo(f"{_time(entry)}  {entry.sentence}")


def recent(entries: list[Entry], since: float) -> list[Entry]:
    """The entries from `since` on (seconds since 1970), and the last one before: it still holds at `since`, because a
    tick without news writes nothing."""
    first = next((index for index, entry in enumerate(entries) if entry.at >= since), len(entries))
    return entries[max(0, first - 1) :]


def _table(entries: Iterable[Entry]) -> Table:
    table = Table(title="What the controller decided", title_justify="left", row_styles=["", "dim"])
    table.add_column("when", no_wrap=True)
    for name in ("backlog", "machines", "desired"):
        table.add_column(name, justify="right")
    table.add_column("did", no_wrap=True)
    table.add_column("because", ratio=1)
    for entry in entries:
        figures = (str(entry.backlog), str(entry.machines), str(entry.desired))
        table.add_row(_time(entry), *figures, _done(entry), Text(entry.sentence))
    return table


def _done(entry: Entry) -> Text:
    words = Text("dry run " if entry.dry_run else "")
    for act in entry.done:
        words.append(f"{act.kind} {len(act.machines)} ", COLOURS[act.kind])
    if refused := sum(one.count for one in entry.refused):
        words.append(f"refused {refused}", "bold red")
    return words


def _time(entry: Entry) -> str:
    return datetime.fromtimestamp(entry.at).strftime("%Y-%m-%d %H:%M:%S")
