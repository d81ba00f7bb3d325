"""Notes why photos went back to the queue, so that a dead letter can say what was wrong with it."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence
from pathlib import Path

from app_tier.in_progress import Delivery
from shoal.buckets import failures
from shoal.buckets.failures import Failure
from shoal.clock import SystemClock
from shoal.errors import ShoalError
from shoal.lifecycle import StopSignal
from shoal.ports import ObjectStore

log = logging.getLogger(__name__)


class FailureNotes:
    """Of one worker. name: the worker's, for the notes."""

    def __init__(self, outputs: ObjectStore, name: str, stop: StopSignal) -> None:
        self._outputs = outputs
        self._name = name
        self._stop = stop
        self._clock = SystemClock()

    def note(self, deliveries: Sequence[Delivery], error: BaseException) -> None:
        """Keep the error with the photo of each delivery. What cannot be kept is told by the log alone."""
        if self._stop.stopping:
            return  # a worker that leaves gives back what is no fault of a photo
        words = in_words(error)
        for one in deliveries:
            failure = Failure(words, self._clock.now(), self._name, one.message.deliveries)
            try:
                failures.note(self._outputs, one.job.key, failure)
            except Exception as reason:
                log.warning("why %s failed is not kept: %s", one.job.key, reason)
                return


def in_words(error: BaseException) -> str:
    """What an error says, what was behind it, and for an error that nobody foresaw where it was raised."""
    told = str(error) if isinstance(error, ShoalError) else _unforeseen(error)
    return f"{told}: {in_words(error.__cause__)}" if error.__cause__ else told


def _unforeseen(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
