"""Tells the register, beat by beat, that this worker lives and what it does."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from pathlib import Path
from typing import Protocol

from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal, steady
from shoal.logs import WarnOnce
from shoal.ports import Beat, Register

log = logging.getLogger(__name__)

FIRST_SECONDS = 0.3  # after the worker is ready, its first beat


class CountedWork(Protocol):
    """The part of a Worker that a beat tells of."""

    @property
    def finished(self) -> int:
        """Messages finished."""

    @property
    def held(self) -> int:
        """Messages that it works on."""

    @property
    def busy_seconds(self) -> float:
        """Time in which it held a message."""


def seconds_alive() -> float:
    """Seconds since this process was started, by the kernel's own books: what came before Python counts as well."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started_ticks = int(fields[19])  # field 22 of proc(5): the first two end with the ")"
    return steady() - started_ticks / os.sysconf("SC_CLK_TCK")


class Registration:
    """Registers at the beginning, beats from a thread of its own and strikes itself off at the end.

    A context manager around all the work, the drain included: a worker that leaves is not a lost one.
    worker:        the instance's id.
    ready_seconds: how long it took until it could work.
    stop:          a worker whose stop was asked for tells that it leaves.
    """

    def __init__(
        self,
        register: Register,
        worker: str,
        work: CountedWork,
        model: str,
        ready_seconds: float,
        every_seconds: float,
        stop: StopSignal,
    ) -> None:
        self._register = register
        self._worker = worker
        self._work = work
        self._model = model
        self._ready_seconds = ready_seconds
        self._every_seconds = every_seconds
        self._stop = stop
        self._counts = itertools.count(1)
        self._ended = threading.Event()
        self._faults = WarnOnce(log)
        self._thread = threading.Thread(target=self._beat_until_ended, name="register", daemon=True)

    def __enter__(self) -> Registration:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        try:
            self._register.forget([self._worker])
        except ShoalError as error:
            log.warning("could not strike this worker off the register, the controller will: %s", error)

    def _beat_until_ended(self) -> None:
        # To make the register's client takes a twentieth of a second, which the first photo shall not wait for.
        self._ended.wait(FIRST_SECONDS)
        self.beat()
        while not self._ended.wait(self._every_seconds):
            self.beat()

    def beat(self) -> None:
        """Tell now. A failure is logged once: the controller is patient for some beats."""
        work = self._work
        try:
            self._register.beat(
                self._worker,
                Beat(
                    next(self._counts),
                    work.finished,
                    work.held,
                    work.busy_seconds,
                    self._ready_seconds,
                    self._model,
                    self._stop.stopping,
                ),
            )
        except ShoalError as error:
            self._faults.warn("cannot tell the register that this worker lives, will go on trying: %s", error)
            return
        self._faults.clear()
