"""Durations that are drawn from a distribution: of a photo's work, of a boot. Pure, apart from the dice."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

Draw = Callable[[Random], float]

SHAPES = "a number of seconds, lognormal:MEAN:SHARE, uniform:LEAST:MOST or exponential:MEAN"


@dataclass(frozen=True, slots=True)
class Durations:
    """A distribution of durations. mean, least: in seconds. draw: one of them, in seconds, not below `least`."""

    mean: float
    least: float
    draw: Draw
    words: str


def constant(seconds: float) -> Durations:
    """Always the same."""
    return Durations(seconds, seconds, lambda _: seconds, f"{seconds:g} s")


def uniform(least: float, most: float) -> Durations:
    """Any duration between two is as likely as any other."""
    return Durations((least + most) / 2, least, lambda dice: dice.uniform(least, most), f"{least:g} to {most:g} s")


def exponential(mean: float) -> Durations:
    """Most are short, some are many times the mean."""
    return Durations(mean, 0.0, lambda dice: dice.expovariate(1 / mean), f"{mean:g} s, exponential")


def lognormal(mean: float, share: float) -> Durations:
    """Most are near the mean, a few much longer. share: the standard deviation, as a share of the mean."""
    sigma = math.sqrt(math.log(1 + share**2))
    middle = math.log(mean) - sigma**2 / 2  # so that the mean is `mean`
    return Durations(mean, 0.0, lambda dice: dice.lognormvariate(middle, sigma), f"{mean:g} s ± {share:.0%}")


def parse(text: str) -> Durations:
    """Read what a person writes, for example `lognormal:0.57:0.3`. Raises ValueError, which tells the forms."""
    kind, colon, rest = text.partition(":")
    try:
        if not colon:
            return constant(*_positive([kind], 1))
        values = rest.split(":")
        if kind == "exponential":
            return exponential(*_positive(values, 1))
        if kind == "lognormal":
            return lognormal(*_positive(values, 2))
        if kind == "uniform":
            least, most = _positive(values, 2)
            if least <= most:
                return uniform(least, most)
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not {SHAPES}")


def _positive(texts: Sequence[str], count: int) -> list[float]:
    values = [float(one) for one in texts]
    if len(values) != count or not all(0 < one < math.inf for one in values):
        raise ValueError
    return values
