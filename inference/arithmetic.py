"""Chooses the arithmetic in which a model computes: the fastest whose labels agree with those of float32. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

FLOAT32, BFLOAT16, INT8 = "float32", "bfloat16", "int8"

LEAST_AGREEMENT = 0.98
LEAST_PHOTOS = 100
LEAST_GAIN = 1.1  # relative to the images/s of float32: below it, a shorter arithmetic is not worth its errors

_Z = 1.959964  # of the normal distribution, two-sided 95 %


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `photos` photos, mirror images included, `same` get the answer of float32: its label, or its detections."""

    same: int
    photos: int

    def __str__(self) -> str:
        return f"the answer of float32 for {self.same} of {self.photos} pictures"

    @property
    def upper_end(self) -> float:
        """The upper end of the 95 % Wilson score interval of the share of photos with the same label, in [0, 1].

        E. B. Wilson 1927, Journal of the American Statistical Association 22:209. 1 for no photos.
        """
        if not self.photos:
            return 1.0
        share, n = self.same / self.photos, self.photos
        middle = share + _Z**2 / (2 * n)
        half = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
        return min(1.0, (middle + half) / (1 + _Z**2 / n))

    @property
    def passes(self) -> bool:
        """Whether there are LEAST_PHOTOS and a true share of LEAST_AGREEMENT is within the interval or below it."""
        return self.photos >= LEAST_PHOTOS and self.upper_end >= LEAST_AGREEMENT

    @property
    def settled(self) -> bool:
        """Whether it needs no more pictures: the share itself is LEAST_AGREEMENT or more, or it does not pass."""
        if self.photos < LEAST_PHOTOS:
            return False
        return self.same >= LEAST_AGREEMENT * self.photos or not self.passes

    def __add__(self, other: Agreement) -> Agreement:
        return Agreement(self.same + other.same, self.photos + other.photos)


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen arithmetic, and why each other one that was measured was refused: arithmetic -> reason."""

    precision: str
    refused: dict[str, str]


def choose(images_per_second: Mapping[str, float], agreement: Mapping[str, Agreement]) -> Choice:
    """Choose the fastest arithmetic that is permitted; float32 always is, and wins if nothing was measured.

    images_per_second: of each arithmetic, measured in turns on one machine.
    agreement:         of each arithmetic except float32.

    Another arithmetic is permitted if its agreement passes and it is LEAST_GAIN times as fast as float32.
    """
    exact = images_per_second.get(FLOAT32, math.inf)
    reasons = {
        name: _refusal(name, rate, exact, agreement.get(name, Agreement(0, 0)))
        for name, rate in images_per_second.items()
        if name != FLOAT32
    }
    permitted = [name for name, reason in reasons.items() if not reason]
    chosen = max(permitted, key=lambda name: (images_per_second[name], name), default=FLOAT32)
    return Choice(chosen, {name: reason for name, reason in reasons.items() if reason})


def unsettled(images_per_second: Mapping[str, float], agreement: Mapping[str, Agreement]) -> list[str]:
    """The arithmetics that need more pictures, without those that are too slow to be chosen whatever these show."""
    choice = choose(images_per_second, {name: one for name, one in agreement.items() if one.settled})
    least = images_per_second.get(choice.precision, 0.0) * (LEAST_GAIN if choice.precision == FLOAT32 else 1.0)
    return [
        name for name, one in agreement.items() if not one.settled and images_per_second.get(name, math.inf) >= least
    ]


def _refusal(name: str, rate: float, exact: float, agreement: Agreement) -> str:
    """Why an arithmetic is refused; empty if it is permitted."""
    if agreement.photos < LEAST_PHOTOS:
        return f"{name} was compared on {agreement.photos} pictures, {LEAST_PHOTOS} are needed"
    if not agreement.passes:
        return f"{name} gives {agreement}, too few for {LEAST_AGREEMENT:.0%}"
    if rate < LEAST_GAIN * exact:
        return f"{name} does {rate:.0f} images/s, float32 {exact:.0f}"
    return ""
