"""Repeats calls to the buckets while the store does not answer or is full: that is no fault of a photo."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import TypeVar

from shoal.errors import Retryable
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce
from shoal.retry import patiently

log = logging.getLogger(__name__)

T = TypeVar("T")

AGAIN_SECONDS = 2.0


class StorePatience:
    """One for all threads of a worker.

    A message that went back to the queue each time would become a dead letter within seconds. So the worker keeps it,
    and takes no more messages when it holds as many as it may.
    """

    def __init__(self, stop: StopSignal) -> None:
        self._stop = stop
        self._repeated = 0
        self._counting = threading.Lock()
        self._faults = WarnOnce(log)

    @property
    def waiting(self) -> bool:
        """Whether a call is being repeated now."""
        return self._repeated > 0

    def call(self, call: Callable[[], T]) -> T:
        """Call until it does not raise Retryable, and return its answer. Raises Retryable when the worker leaves."""
        try:
            return call()
        except Retryable as error:
            self._faults.warn("the store cannot be used, this worker waits and goes on by itself: %s", error)
        self._count(1)
        try:
            answer = patiently(call, math.inf, lambda: self._stop.wait(AGAIN_SECONDS))
        finally:
            self._count(-1)
        if self._faults.clear():
            log.warning("the store can be used again")
        return answer

    def _count(self, change: int) -> None:
        with self._counting:
            self._repeated += change
