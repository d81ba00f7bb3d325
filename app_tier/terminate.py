"""The classic way to be asked to leave: terminate messages in a queue that all workers read now and then."""

from __future__ import annotations

import logging
import threading
import time
from typing import Protocol

from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce
from shoal.ports import JobQueue, Received

log = logging.getLogger(__name__)

REQUESTS_BETWEEN_LOOKS = 5
IDLE_SECONDS = 20.0
LISTEN_SECONDS = 1.0  # one long poll of an idle worker
LOOK_SECONDS = 0.1


class IdleWork(Protocol):
    """The part of a Worker that decides when to look."""

    @property
    def finished(self) -> int:
        """Messages finished."""

    @property
    def idle_since(self) -> float | None:
        """Since when it holds nothing (`time.monotonic()`); None while it holds a message."""


class TerminateWatch:
    """Reads the queue each time another five requests are finished, and all the time once idle for twenty seconds.

    Taking a message is leaving: it is deleted, and the worker stops, finishes what it holds and ends.
    valid_seconds: how old a message may have been, by the queue's own clock, when it was first received. An older
                   one, or one that a worker took and died with, is deleted without effect: it is out of date.
    """

    def __init__(self, queue: JobQueue, work: IdleWork, stop: StopSignal, valid_seconds: float) -> None:
        self._queue = queue
        self._work = work
        self._stop = stop
        self._valid_seconds = valid_seconds
        self._looked_at = 0
        self._ended = threading.Event()
        self._faults = WarnOnce(log)
        self._thread = threading.Thread(target=self._watch, name="terminate-watch", daemon=True)

    def __enter__(self) -> TerminateWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS) and not self._stop.stopping:
            if self._is_idle():
                self.look(LISTEN_SECONDS)
            elif self._work.finished - self._looked_at >= REQUESTS_BETWEEN_LOOKS:
                self._looked_at = self._work.finished
                self.look(0)

    def _is_idle(self) -> bool:
        since = self._work.idle_since
        return since is not None and time.monotonic() - since >= IDLE_SECONDS

    def look(self, wait_seconds: float) -> None:
        """Read until a valid message was taken or none is left."""
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
