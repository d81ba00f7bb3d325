"""An emulated link between the caller and the venue: a rate and a delay, which are modelled by waiting."""

from __future__ import annotations

from dataclasses import dataclass

BITS = 8
ANSWER_BYTES = 2_000  # about what an answer takes


@dataclass(frozen=True, slots=True)
class Link:
    """mbit: megabits a second, 0 for no limit. delay_ms: milliseconds in each direction."""

    mbit: float = 0.0
    delay_ms: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.mbit or self.delay_ms)

    def __str__(self) -> str:
        rate = f"{self.mbit:g} Mbit/s" if self.mbit else "no limit of rate"
        return f"{rate}, {self.delay_ms:g} ms each way"

    def seconds(self, size: int) -> float:
        """How long `size` bytes take from one end to the other."""
        rate = BITS * size / (self.mbit * 1e6) if self.mbit else 0.0
        return rate + self.delay_ms / 1000
