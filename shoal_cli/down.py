"""`shoal down`: stop what `shoal up` started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click

from shoal import settings
from shoal.errors import Permanent, Retryable
from shoal.lifecycle import SERVE_LOCK, UP_LOCK, holder

STOP_SECONDS = 60.0


@click.command(short_help="Stop what `shoal up` or `shoal serve` runs.")
def command() -> None:
    """Stop what `shoal up` or `shoal serve` runs in SHOAL_STATE_DIR.

    Accepted photos stay in the buckets; the next `shoal up` continues with them.
    """
    folder = settings.load().state_dir
    found = [(lock, pid) for name in (UP_LOCK, SERVE_LOCK) if (pid := holder(lock := folder / name)) is not None]
    if not found:
        raise Permanent(f"no Shoal runs in {folder}")
    click.echo("Stopping: photos in work are finished or given back. This takes some seconds.", err=True)
    for lock, pid in found:
        _stop(lock, pid)
    click.echo("Stopped.")


def _stop(lock: Path, pid: int) -> None:
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while holder(lock) is not None:
        if time.monotonic() > deadline:
            raise Retryable(
                f"process {pid} has not stopped within {STOP_SECONDS:g} s; a second `shoal down` ends it at once"
            )
        time.sleep(0.05)
