"""Ends a worker whose work does not move, messages or a shard: its engine, or a library under it, hangs.

Otherwise its heartbeats would keep these messages from other workers for ever, and its beats would tell the controller
that it works. The process ends as after any fault: cron starts it again, and the messages are delivered again after
their visibility timeout.
"""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Callable
from typing import Protocol

from app_tier.watcher import Watcher

log = logging.getLogger(__name__)

LOOKS = 10  # in the time that is allowed


class Movement(Protocol):
    """What is watched: the messages of a Worker, or the calls for a shard."""

    @property
    def in_progress(self) -> int:
        """Those that were begun and have not ended."""

    @property
    def let_go(self) -> int:
        """Those that ended, in all."""


class StallWatch(Watcher):
    """Calls `end` when nothing that is in progress ends for too long. Runs until the drain is over.

    seconds: how long that may be. Counted in looks: the time in which the whole process or its machine was stopped is
             no fault of the engine.
    excused: whether it stands for another reason at this moment, which does not count.
    """

    def __init__(
        self, progress: Movement, seconds: float, end: Callable[[], None], excused: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__("stall-watch", seconds / LOOKS)
        self._progress = progress
        self._excused = excused
        self._end = end
        self._before = progress.let_go
        self._looks = 0

    def step(self) -> bool:
        """Look once."""
        let_go = self._progress.let_go
        stands = self._progress.in_progress and let_go == self._before and not self._excused()
        self._looks = self._looks + 1 if stands else 0
        self._before = let_go
        if self._looks <= LOOKS:
            return True
        self._end()
        return False


def end_stalled(seconds: float) -> None:
    """Log where each thread is and end the process with status 1: threads that hang cannot be asked to end."""
    log.error(
        "nothing was done with the messages held for %g s: this worker ends, and others get them. Where it hangs is "
        "below; if photos simply take so long here, raise SHOAL_STALL_SECONDS",
        seconds,
    )
    faulthandler.dump_traceback()
    os._exit(1)
