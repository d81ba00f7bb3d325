"""One photo, sent once through one lane. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Size = Literal["as it is", "resized"]
Phase = Literal["cold", "warm-up", "measured"]

AS_IT_IS: Size = "as it is"
RESIZED: Size = "resized"


@dataclass(frozen=True, slots=True, order=True)
class Lane:
    """A venue, and the size in which photos are sent to it."""

    venue: str
    size: Size

    def __str__(self) -> str:
        return self.venue if self.size == AS_IT_IS else f"{self.venue}, {self.size}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one call took, in seconds.

    phase:      "cold" for the first call to a lane, "warm-up" for calls that are not counted, else "measured".
    total:      from the start of the call to its answer, by the clock of the caller.
    wait:       in queues: in that of the pool, and for the engine.
    inference:  decoding and the engine, on both sides of a cut.
    device:     the part of `inference` that the caller's own device computed.
    fetched_bytes: what a device fetches once, before its first photo. kept: seconds that the first call then takes.
    sent_bytes: the size of the photo as it was sent.
    error:      why there is no label; empty when there is one. The times of a failed call are not counted.
    """

    lane: Lane
    photo: str
    round: int
    phase: Phase
    total: float
    wait: float = 0.0
    inference: float = 0.0
    sent_bytes: int = 0
    label: str = ""
    error: str = ""
    device: float = 0.0
    fetched_bytes: int = 0
    kept: float = 0.0

    @property
    def transfer(self) -> float:
        """The rest: sending the photo, storing it where the venue does so, and the way of the answer back."""
        return max(0.0, self.total - self.wait - self.inference)
