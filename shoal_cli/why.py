"""`shoal why`: show what the controller decided lately, and why, from its ledger."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shoal import ledger_file, settings
from shoal.aws import connect_to_running
from shoal.buckets import function_use
from shoal.errors import NotFound, ShoalError
from shoal.ledger import ActKind, Entry, machines_between
from shoal.lifecycle import SERVE_LOCK, holder
from shoal.prices import LEAST_BILLED_SECONDS, cost_in_words, dollars, price_in_words, price_per_hour
from shoal.settings import Settings, in_force

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NUMBER = re.compile(r"\d[\d.,]*")
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
    chosen = settings.load_with_env_file()
    path = chosen.state_dir / ledger_file.NAME
    entries = list(ledger_file.read(path))
    if not entries and holder(chosen.state_dir / SERVE_LOCK) is not None:
        raise NotFound("`shoal serve` runs here: it labels photos itself, without a controller that decides")
    if not entries:
        raise NotFound(f"there is no ledger in {path}: no controller has run here, or SHOAL_STATE_DIR is another")
    now = time.time()
    shown = recent(entries, now - last)
    if as_json:
        for entry in shown:
            click.echo(entry.to_json())
        return
    click.echo(f"In the last {words(last)}: {total(shown, now - last, now, chosen)}{_function(chosen, now - last)}")
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(_table(runs(shown)))
    else:
        for run in runs(shown):
            click.echo(f"{_time(run[0])}  {run[0].sentence}{_more(run)}")


def _function(chosen: Settings, since: float) -> str:
    """What the Lambda function has labelled since then; nothing where no cloud runs any more."""
    with suppress(ShoalError):
        used = function_use.since(connect_to_running(chosen).outputs, chosen.lambda_prefix, since)
        return f"; the Lambda function: {used.in_words(chosen)}" if used else ""
    return ""


def total(entries: Sequence[Entry], since: float, now: float, chosen: Settings) -> str:
    """The sum over the entries since then: peak 4, 52 machine-seconds, $0.0006, 3 launches."""
    acted = [one for one in entries if not one.dry_run]
    following = [*acted[1:], None]
    ends = [one.at if one else now for one in following]
    spans = [max(0.0, end - max(one.at, since)) for one, end in zip(acted, ends, strict=True)]
    machines = [machines_between(one, after) for one, after in zip(acted, following, strict=True)]
    seconds = sum(count * span for count, span in zip(machines, spans, strict=True))
    launched = sum(len(act.machines) for one in acted if one.at >= since for act in one.done if act.kind == "launch")
    here = chosen.emulated or any(one.emulated for one in acted[-1:])  # a cloud that was stopped cannot be asked
    chosen = replace(in_force.applied(chosen), emulated=here)
    price = price_per_hour(chosen)
    cost = price_in_words(chosen) if price is None else cost_in_words(chosen, dollars(seconds / 3600 * price))
    peak = max((count for count, span in zip(machines, spans, strict=True) if span), default=0)
    told = f"peak {peak}, {seconds:.0f} machine-seconds, {cost}, {launched} {'launch' if launched == 1 else 'launches'}"
    if price is None:
        return told
    least = launched * LEAST_BILLED_SECONDS
    if least > seconds:
        return f"{told}; EC2 bills each a minute at least, so {dollars(least / 3600 * price)} there"
    if short := _unbilled_seconds(acted, since):
        return f"{told}; EC2 bills each a minute at least, so up to {dollars(short / 3600 * price)} more there"
    return told


def _unbilled_seconds(acted: Iterable[Entry], since: float) -> float:
    """How much the machines launched since then, and asked to leave within a minute, lived less than that at the most.
    The ledger names a launch by its name and an end by its id, so each end counts for the last launch before it."""
    launches: list[float] = []
    short = 0.0
    for entry in acted:
        for act in entry.done:
            if act.kind == "launch":
                launches += [entry.at] * len(act.machines)
                continue
            for at in [launches.pop() for _ in act.machines[: len(launches)]]:
                if at >= since:
                    short += max(0.0, LEAST_BILLED_SECONDS - (entry.at - at))
    return short


def runs(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries, those together that say the same in a row but for their figures."""
    found: list[list[Entry]] = []
    for entry in entries:
        if found and not entry.done and _shape(entry) == _shape(found[-1][-1]):
            found[-1].append(entry)
        else:
            found.append([entry])
    return found


def _shape(entry: Entry) -> str:
    return _NUMBER.sub("0", entry.sentence)


def _more(run: Sequence[Entry]) -> str:
    """How often it was said again, and until when."""
    return f" (and {len(run) - 1} more like it until {_time(run[-1]).partition(' ')[2]})" if len(run) > 1 else ""


def words(seconds: float) -> str:
    """A duration as Duration reads it, in the largest unit that it is whole in."""
    size, name = next((size, name) for name, size in reversed(UNITS.items()) if seconds % size == 0 or size == 1)
    return f"{seconds / size:g} {name}"


def recent(entries: list[Entry], since: float) -> list[Entry]:
    """The entries from `since` on (seconds since 1970), and the last one before: it still holds at `since`, because a
    tick without news writes nothing."""
    first = next((index for index, entry in enumerate(entries) if entry.at >= since), len(entries))
    return entries[max(0, first - 1) :]


def _table(found: Iterable[Sequence[Entry]]) -> Table:
    table = Table(title="What the controller decided", title_justify="left", row_styles=["", "dim"])
    table.add_column("when", no_wrap=True)
    for name in ("backlog", "machines", "desired"):
        table.add_column(name, justify="right")
    table.add_column("did", no_wrap=True)
    table.add_column("because", ratio=1)
    for run in found:
        entry = run[0]
        figures = (str(entry.backlog), str(entry.machines), str(entry.desired))
        table.add_row(_time(entry), *figures, _done(entry), Text(entry.sentence + _more(run)))
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
