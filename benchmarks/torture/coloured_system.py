"""A whole Shoal with one worker whose engine takes a photo's colour for its label: all is real but the model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture import colours

WORKER_SECONDS = 60.0


@contextmanager
def coloured_system(**more: object) -> Iterator[RunningSystem]:
    """It runs, with a worker, in a folder that is deleted afterwards. more: further settings.

    Raises TimeoutError when no worker comes.
    """
    folder = Path(tempfile.mkdtemp(prefix="shoal-coloured-"))
    colours.prepare(folder / "cache")
    own = {"ENGINE": colours.NAME, "PRECISION": "float32", "CACHE_DIR": folder / "cache"}
    system = RunningSystem(folder / "state", (), **own, MIN_INSTANCES=1, MAX_INSTANCES=1, **more)
    try:
        system.start()
        wait_for(system.workers, WORKER_SECONDS, "no worker came")
        yield system
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)
