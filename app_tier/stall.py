"""Ends a worker that holds messages and is done with none: its engine, or a library under it, hangs.

Its heartbeats would keep those messages from all others for ever, and its beats would have the controller count it as
capacity. So the process ends as after any fault: cron starts it again, and the messages are delivered again when
their visibility times out.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
from collections.abc import Callable
from typing import Protocol

log = logging.getLogger(__name__)

LOOKS = 10  # in the time that is allowed


class WatchedWork(Protocol):
    """The part of a Worker that is watched."""

    @property
    def held(self) -> int:
        """Messages that it works on."""

    @property
    def let_go(self) -> int:
        """Messages that it was done with, given back ones included."""


class StallWatch:
    """A context manager around all the work, the drain included.

    seconds: how long a worker may hold messages without being done with any. They are counted in looks: the time in
             which the whole process or its machine was stopped is no fault of the engine.
    end:     called when that is over.
    """

    def __init__(self, work: WatchedWork, seconds: float, end: Callable[[], None]) -> None:
        self._work = work
        self._seconds = seconds
        self._end = end
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall-watch", daemon=True)

    def __enter__(self) -> StallWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        before, looks = self._work.let_go, 0
        while not self._ended.wait(self._seconds / LOOKS):
            let_go = self._work.let_go
            looks = looks + 1 if self._work.held and let_go == before else 0
            before = let_go
            if looks > LOOKS:
                self._end()
                return


def end_stalled(seconds: float) -> None:
    """Say where each thread is and end the process, status 1: threads that hang cannot be asked to."""
    log.error(
        "nothing was done with the messages held for %g s: this worker ends, and others get them. Where it hangs is "
        "below; if photos simply take so long here, raise SHOAL_STALL_SECONDS",
        seconds,
    )
    faulthandler.dump_traceback()
    os._exit(1)
