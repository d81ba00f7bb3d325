"""`shoal watch`: the queue, the pool and what the controller decided lately, in the terminal, as they change."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from shoal import ledger_file, settings
from shoal.aws import connect_to_running
from shoal.errors import ShoalError
from shoal.ledger import Entry
from shoal.ports import Cloud, Depth
from shoal.settings import Settings, in_force
from shoal.state_folder.page_address import page_address
from shoal_cli._client import is_up
from shoal_cli.status import state

SENTENCES = 8
COLOURS = {"running": "green", "pending": "yellow", "leaving": "cyan"}


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen at one moment. workers: state -> how many. most: the cap that the controller goes by."""

    up: bool
    backlog: Depth
    dead_letters: int
    workers: Counter[str]
    most: int


@click.command(short_help="Watch the queue and the controller's decisions, live.")
@click.option("--once", is_flag=True, help="Show it one time and end.")
@click.option(
    "--every", type=click.FloatRange(0.2, 3600), default=1.0, show_default=True, help="Seconds between looks."
)
def command(once: bool, every: float) -> None:
    """Watch the queue, the workers and the controller's decisions until Ctrl-C."""
    chosen = settings.load_with_env_file()
    cloud, lately = connect_to_running(chosen), Lately(chosen.state_dir / ledger_file.NAME)
    console = Console(highlight=False)
    if once:
        console.print(frame(chosen, look(chosen, cloud), lately.latest()), soft_wrap=True)
        return
    with contextlib.suppress(KeyboardInterrupt):
        if console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    live.update(_now(chosen, cloud, lately), refresh=True)
                    time.sleep(every)
        while True:  # into a file or a pipe: one after the other
            console.print(_now(chosen, cloud, lately), soft_wrap=True)
            time.sleep(every)


def _now(chosen: Settings, cloud: Cloud, lately: Lately) -> Text:
    try:
        return frame(chosen, look(chosen, cloud), lately.latest())
    except ShoalError as error:  # it may come back: that is what one watches for
        return Text(f"{_time(time.time())}  the cloud does not answer: {error}")


def look(chosen: Settings, cloud: Cloud) -> Sight:
    """One look at the cloud. May raise Retryable and NotFound."""
    reporting = cloud.register.workers()
    return Sight(
        is_up(page_address(chosen)),
        cloud.requests.depth(),
        cloud.dead_letters.depth().total,
        Counter(state(one, reporting) for one in cloud.pool.describe()),
        in_force.applied(chosen).max_instances,
    )


def frame(chosen: Settings, seen: Sight, latest: Sequence[Entry]) -> Text:
    """What a person is shown. latest: of the ledger, the newest last."""
    depth, dead = seen.backlog, seen.dead_letters
    backlog = f"{depth.total}: {depth.visible} waiting, {depth.in_flight} in work, {depth.delayed} delayed"
    facts: list[tuple[str, str | Text]] = [
        ("time", _time(time.time())),
        ("page", f"{page_address(chosen)} {'answers' if seen.up else 'does not answer'}"),
        ("backlog", backlog),
        ("dead letters", Text(f"{dead} (see `shoal dlq`)", "bold red") if dead else "0"),
        ("workers", _workers(seen.workers, seen.most)),
    ]
    acted = [entry for entry in latest if not entry.dry_run]
    if acted and depth.total and (held_back := acted[-1].hindrance):
        facts.append(("held back", Text(held_back, "bold red")))
    lines = [Text.assemble(f"{name:<13}", fact) for name, fact in facts]
    sentences = [Text.assemble((_time(entry.at), "dim"), f"  {entry.sentence}") for entry in latest]
    return Text("\n").join(
        [*lines, Text(""), *(sentences or [Text("The controller has decided nothing here yet.", "dim")])]
    )


def _workers(counts: Counter[str], most: int) -> Text:
    words = Text(", ").join(Text(f"{count} {name}", COLOURS.get(name, "")) for name, count in sorted(counts.items()))
    return Text.assemble(words if counts else "none", f" (at most {most})")


class Lately:
    """The ledger's last entries, read again only when it has grown."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[float, int] | None = None
        self._latest: list[Entry] = []

    def latest(self) -> list[Entry]:
        """The newest entries, the newest last."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return []
        if self._seen != (found.st_mtime, found.st_size):
            self._seen = found.st_mtime, found.st_size
            self._latest = list(deque(ledger_file.read(self._path), SENTENCES))
        return self._latest


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).strftime("%H:%M:%S")
