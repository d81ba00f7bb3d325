"""Tells the register that this worker lives and what it does, a beat at a time."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable
from pathlib import Path

from app_tier.watcher import Progress, Watcher
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal, peak_bytes, steady
from shoal.logs import WarnOnce
from shoal.ports import Beat, Register

log = logging.getLogger(__name__)

FIRST_SECONDS = 0.3  # after the worker is ready, its first beat
AGAIN = "started-again"  # made by ami/start-worker at each start but the first


def seconds_alive() -> float:
    """Seconds since the kernel started this process: the time before Python ran counts as well."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_ticks = int(fields[19])  # field 22 of proc(5): the first two end with the ")"
    return steady() - started_ticks / os.sysconf("SC_CLK_TCK")


def started_before(run_dir: Path | None) -> bool:
    """Whether a process of this worker was started before this one since the machine's boot, as `ami/start-worker`
    noted: it does so before the process runs, which may be killed at once.

    run_dir: the folder with the notes, empty after a boot; without one nobody knows.
    """
    return run_dir is not None and (run_dir / AGAIN).is_dir()


class Registration(Watcher):
    """Beats until the drain is over, and once more when the work has ended, with its last counts.

    The controller strikes the worker off the register when its instance is gone.

    worker:        the instance's id.
    ready_seconds: how long it took until it could work.
    arithmetic:    in which it computes, for people.
    stop:          a worker that is stopped says in its beats that it leaves.
    bulk:          how many photos of bulk runs it works on.
    bulk_finished: how many of them it has finished.
    restarted:     whether a process before this one was started on this machine.
    """

    def __init__(
        self,
        register: Register,
        worker: str,
        progress: Progress,
        model: str,
        ready_seconds: float,
        every_seconds: float,
        stop: StopSignal,
        arithmetic: str = "",
        bulk: Callable[[], int] = lambda: 0,
        bulk_finished: Callable[[], int] = lambda: 0,
        restarted: bool = False,
    ) -> None:
        # To make the register's client takes a twentieth of a second. The first photo does not wait for it.
        super().__init__("register", every_seconds, FIRST_SECONDS)
        self._register = register
        self._worker = worker
        self._progress = progress
        self._model = model
        self._ready_seconds = ready_seconds
        self._stop = stop
        self._arithmetic = arithmetic
        self._bulk = bulk
        self._bulk_finished = bulk_finished
        self._restarted = restarted
        self._counts = itertools.count(1)
        self._faults = WarnOnce(log)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        try:
            self._register.beat(self._worker, self._beat())
        except ShoalError as failure:
            log.warning("could not tell the register what this worker finished last: %s", failure)

    def step(self) -> bool:
        """Beat now. A failure is logged once: the controller is patient for some beats."""
        try:
            self._register.beat(self._worker, self._beat())
        except ShoalError as error:
            self._faults.warn("cannot tell the register that this worker lives, will go on trying: %s", error)
        else:
            self._faults.clear()
        return True

    def _beat(self) -> Beat:
        progress = self._progress
        return Beat(
            next(self._counts),
            progress.finished,
            progress.in_progress,
            progress.busy_seconds,
            self._ready_seconds,
            self._model,
            self._stop.stopping,
            progress.received,
            progress.waits_for_store,
            self._arithmetic,
            peak_bytes(),
            progress.dropped,
            self._bulk(),
            self._bulk_finished(),
            self._restarted,
        )
