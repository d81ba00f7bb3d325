"""`shoal down`: stop what `shoal up` started."""

from __future__ import annotations

import os
import signal
import time

import click

from shoal import settings
from shoal.errors import Permanent, Retryable
from shoal.lifecycle import holder

STOP_SECONDS = 60.0


@click.command()
def command() -> None:
    """Stop the system that `shoal up` runs in SHOAL_STATE_DIR: web tier, controller, workers, embedded cloud.

    Accepted photos stay in the buckets; the next `shoal up` continues with them.
    """
    lock = settings.load().state_dir / "up.lock"
    pid = holder(lock)
    if pid is None:
        raise Permanent(f"no Shoal runs in {lock.parent}")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while holder(lock) is not None:
        if time.monotonic() > deadline:
            raise Retryable(
                f"process {pid} has not stopped within {STOP_SECONDS:g} s; a second `shoal down` ends it at once"
            )
        time.sleep(0.05)
    click.echo("Stopped.")
