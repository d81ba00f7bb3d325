"""Finds bulk runs that nothing goes on with: their messages were lost, or a client died before it sent the first."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from controller.slow_lane.bulk_watch import OLDEST_SECONDS
from runs.records import PAUSED
from runs.steering import Steering
from shoal.errors import NotFound, Retryable, ShoalError
from shoal.ports import Clock, Cloud

log = logging.getLogger(__name__)

EMPTY_SECONDS = 120.0  # longer than SQS' counts are late
LOOK_SECONDS = 3600.0  # between two looks while no run has messages: each costs a call or two for every run


class BulkSweep:
    """Sends again what open runs lack: at the start, and once the bulk queue has been empty for two minutes.

    What is sent twice does no harm. A run that lacks the same again and again is tried at longer and longer times, up
    to an hour.
    """

    def __init__(self, cloud: Cloud, clock: Clock) -> None:
        self._queue = cloud.bulk
        self._clock = clock
        self._steering = Steering(cloud)
        self._ended: set[str] = set()
        self._empty_seconds = EMPTY_SECONDS
        self._due = clock.now()

    def sweep(self) -> None:
        """Sweep once. Raises Retryable when the cloud cannot be read; the next sweep does the rest."""
        now = self._clock.now()
        try:
            if self._queue.depth().total:
                self._due = now + self._empty_seconds
        except NotFound:
            return  # `shoal prepare` of an older Shoal made no such queue
        if now < self._due:
            return
        stuck = [run for run in self._open(now) if self._send_again(run)]
        if stuck:
            log.warning("nothing went on with the bulk runs %s: sent again what is not done", ", ".join(stuck))
        self._empty_seconds = min(2 * self._empty_seconds, LOOK_SECONDS) if stuck else EMPTY_SECONDS
        self._due = now + LOOK_SECONDS

    def _open(self, now: float) -> Iterator[str]:
        for run in self._steering.records.ids(now - OLDEST_SECONDS):
            if run in self._ended:
                continue
            if self._steering.records.summary(run) is not None:
                self._ended.add(run)
            elif self._steering.records.control(run).state != PAUSED:
                yield run

    def _send_again(self, run: str) -> bool:
        try:
            self._steering.send_again(run)
        except Retryable:
            raise
        except ShoalError as error:
            self._ended.add(run)
            log.warning("the bulk run %s is passed over: %s", run, error)
            return False
        return True
