"""Ends a worker whose messages in progress do not move: its engine, or a library under it, hangs.

Otherwise its heartbeats would keep these messages from other workers for ever, and its beats would tell the controller
that it works. The process ends as after any fault: cron starts it again, and the messages are delivered again after
their visibility timeout.
"""

from __future__ import annotations

import faulthandler
import logging
import os
from collections.abc import Callable

from app_tier.watcher import Progress, Watcher

log = logging.getLogger(__name__)

LOOKS = 10  # in the time that is allowed


class StallWatch(Watcher):
    """Calls `end` when no message leaves the worker for too long. Runs until the drain is over.

    seconds: how long messages may be in progress without any of them leaving. Counted in looks: the time in which the
             whole process or its machine was stopped, or waited for the store, is no fault of the engine. The time
             in which a photo is tried alone does not count either: that has a limit of its own.
    """

    def __init__(self, progress: Progress, seconds: float, end: Callable[[], None]) -> None:
        super().__init__("stall-watch", seconds / LOOKS)
        self._progress = progress
        self._end = end
        self._before = progress.let_go
        self._looks = 0

    def step(self) -> bool:
        """Look once."""
        let_go = self._progress.let_go
        excused = self._progress.waits_for_store or self._progress.tries_alone
        stands = self._progress.in_progress and let_go == self._before and not excused
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
