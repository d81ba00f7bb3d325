"""`shoal replay`: what a recorded ledger's photos would have cost under other policies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from shoal import ledger_file, settings
from shoal.errors import NotFound
from shoal_cli._simulations._options import Chosen, scenario, show, simulation_options
from simulator import arrivals
from simulator.durations import constant


@click.command(short_help="Replay recorded arrivals under other policies.")
@click.argument("ledger", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@simulation_options
def command(ledger: Path | None, **values: Any) -> None:
    """Replay the arrivals in LEDGER, a controller's ledger, against policies; this Shoal's own ledger by default.

    A photo's work and a boot take what that controller measured, unless --service and --boot say otherwise.
    """
    chosen = Chosen(**values)
    known = settings.in_force.applied(settings.load_with_own_file())
    path = ledger or known.state_dir / ledger_file.NAME
    entries = list(ledger_file.read(path))
    if not entries:
        raise NotFound(f"there is no ledger in {path}: no controller has run here, or SHOAL_STATE_DIR is another")
    last = entries[-1]
    if last.service_seconds:
        values["service"] = chosen.service or constant(last.alone_seconds or last.service_seconds)
    if last.boot_seconds:
        values["boot"] = chosen.boot or constant(last.boot_seconds)
    times = arrivals.of_ledger(entries)
    show(Chosen(**values), scenario(Chosen(**values), known, times, max(times[-1], 1.0)))
