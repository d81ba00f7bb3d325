"""A message in progress, and how long each stage of its work took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from shoal.messages import UPLOAD, Job, Result
from shoal.ports import Received

LONGEST_UPLOAD_SECONDS = 24 * 3600.0  # more is no measurement


@dataclass
class Delivery:
    """One delivery of a request message.

    stages: name -> when it began and ended, both `time.perf_counter()` of this process. Other clocks measured the
            stages before its arrival: their lengths are put in front of the moment of arrival.
    dropped: whether nobody waits for its answer: the photo was cancelled, or its batch deleted.
    """

    job: Job
    message: Received
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)
    dropped: bool = False

    @classmethod
    def open(cls, message: Received, job: Job) -> Delivery:
        """A delivery that arrived just now."""
        arrived = time.perf_counter()
        queued = arrived - max(0.0, message.received_at - message.sent_at)
        stages = {"queue": (queued, arrived)}
        uploaded = _seconds(message.attributes.get(UPLOAD, ""))
        if uploaded is not None:
            stages = {UPLOAD: (queued - uploaded, queued)} | stages
        return cls(job, message, stages)

    def note(self, stage: str, began: float) -> float:
        """End the stage that began at `began`; returns now, the beginning of the next stage."""
        ended = time.perf_counter()
        self.stages[stage] = (began, ended)
        return ended

    @property
    def ended(self) -> float:
        """When the last stage ended."""
        return max(ended for _, ended in self.stages.values())

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds, for its result."""
        return {stage: round(ended - began, 4) for stage, (began, ended) in self.stages.items()}


@dataclass
class Finished:
    """A delivery and its outcome."""

    delivery: Delivery
    outcome: Result

    @property
    def result(self) -> Result:
        """The outcome with the seconds of all stages until now."""
        return replace(self.outcome, seconds=self.delivery.seconds)


def _seconds(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST_UPLOAD_SECONDS else None  # not for "nan", "inf" or a negative number
