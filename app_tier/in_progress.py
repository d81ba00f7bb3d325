"""A message that a worker works on, and how long each stage of it took."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from shoal.messages import UPLOAD, Job, Result
from shoal.ports import Received


@dataclass
class Delivery:
    """One delivery of a request message.

    stages: name -> when it began and ended, both `time.perf_counter()` of this process. What happened before the
            message came here is told by other clocks as a length, and put in front of the moment of its arrival.
    """

    job: Job
    message: Received
    stages: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def open(cls, message: Received) -> Delivery:
        """Raises MalformedMessage."""
        arrived = time.perf_counter()
        queued = arrived - max(0.0, message.received_at - message.sent_at)
        stages = {"queue": (queued, arrived)}
        uploaded = _seconds(message.attributes.get(UPLOAD, ""))
        if uploaded is not None:
            stages = {UPLOAD: (queued - uploaded, queued)} | stages
        return cls(Job.from_json(message.body), message, stages)

    def note(self, stage: str, began: float) -> float:
        """The stage that began at `began` ends now; returns now, when the next may begin."""
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
    """A held message and what became of it."""

    held: Delivery
    outcome: Result

    @property
    def result(self) -> Result:
        """The outcome with the seconds of all stages until now."""
        return replace(self.outcome, seconds=self.held.seconds)


def _seconds(text: str) -> float | None:
    try:
        return max(0.0, float(text))
    except ValueError:
        return None
