"""Stops a worker that takes a terminate message from the queue of all workers: the classic way to drain."""

from __future__ import annotations

import logging
import time

from app_tier.watcher import Progress, Watcher
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce
from shoal.ports import JobQueue, Received

log = logging.getLogger(__name__)

REQUESTS_BETWEEN_LOOKS = 5
IDLE_SECONDS = 20.0
LISTEN_SECONDS = 1.0  # one long poll of an idle worker
LOOK_SECONDS = 0.1


class TerminateWatch(Watcher):
    """Reads the queue after every fifth request, and all the time once idle for twenty seconds.

    A worker that takes a message deletes it, stops, finishes its messages in progress and ends.
    valid_seconds: how old a message may have been, by the queue's own clock, when it was first received. An older
                   message is out of date and deleted without effect. So is one whose worker took it and died.
    """

    def __init__(self, queue: JobQueue, progress: Progress, stop: StopSignal, valid_seconds: float) -> None:
        super().__init__("terminate-watch", LOOK_SECONDS)
        self._queue = queue
        self._progress = progress
        self._stop = stop
        self._valid_seconds = valid_seconds
        self._looked_at = 0
        self._faults = WarnOnce(log)

    def step(self) -> bool:
        """Read the queue when it is time to."""
        if self._stop.stopping:
            return False
        finished = self._progress.finished
        if self._is_idle():
            self.look(LISTEN_SECONDS)
        elif finished - self._looked_at >= REQUESTS_BETWEEN_LOOKS:
            self._looked_at = finished
            self.look(0)
        return True

    def _is_idle(self) -> bool:
        since = self._progress.idle_since
        return since is not None and time.monotonic() - since >= IDLE_SECONDS

    def look(self, wait_seconds: float) -> None:
        """Read until a valid message is taken or the queue is empty."""
        try:
            while messages := self._queue.receive(1, wait_seconds):
                self._queue.delete([messages[0].receipt])
                if self._is_valid(messages[0]):
                    self._stop.stop("terminate message")
                    return
        except ShoalError as error:
            self._faults.warn("cannot read the terminate queue, will go on trying: %s", error)
            return
        self._faults.clear()

    def _is_valid(self, message: Received) -> bool:
        return message.deliveries == 1 and message.received_at - message.sent_at <= self._valid_seconds
