"""The thread of whatever runs beside the pipeline for as long as the worker works."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from typing import Protocol, Self

from shoal.logs import WarnOnce

log = logging.getLogger(__name__)


class Progress(Protocol):
    """How far a Worker is, for those that watch it."""

    @property
    def finished(self) -> int:
        """Messages finished."""

    @property
    def dropped(self) -> int:
        """Messages finished for whose photo nobody waits: it was cancelled, or its batch deleted."""

    @property
    def in_progress(self) -> int:
        """Messages that it works on now."""

    @property
    def busy_seconds(self) -> float:
        """Time in which at least one message was in progress."""

    @property
    def received(self) -> int:
        """Messages received, those that it could not read included."""

    @property
    def waits_for_store(self) -> bool:
        """Whether the buckets do not answer or are full, so that it cannot get on."""

    @property
    def idle_since(self) -> float | None:
        """Since when no message is in progress (`time.monotonic()`); None while one is."""


class Watcher(ABC):
    """Calls `step` from a thread of its own, again and again. A context manager around the work.

    name:          of the thread.
    every_seconds: the pause before each call.
    first_seconds: the pause before the first call, when it is another.
    """

    def __init__(self, name: str, every_seconds: float, first_seconds: float | None = None) -> None:
        self._every_seconds = every_seconds
        self._first_seconds = every_seconds if first_seconds is None else first_seconds
        self._ended = threading.Event()
        self._faults_of_steps = WarnOnce(log)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self._first_seconds
        while not self._ended.wait(pause) and self._goes_on():
            pause = self._every_seconds

    def _goes_on(self) -> bool:
        """Take a step. What it reads was written by others: no error of a step ends the thread."""
        try:
            more = self.step()
        except Exception:
            self._faults_of_steps.warn("%s broke, will go on trying", self._thread.name, exc_info=True)
            return True
        self._faults_of_steps.clear()
        return more

    @abstractmethod
    def step(self) -> bool:
        """Look once. Returns whether to go on."""
