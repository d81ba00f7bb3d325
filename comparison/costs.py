"""What a month costs at a given volume, and from which volume on another venue is cheaper. Pure; modelled.

A month has 365.25 / 12 days. Prices come from the caller: `comparison.price_list`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

DAYS = 365.25 / 12
DAY_SECONDS = 86_400
BUSY_SHARE = 0.7  # arrivals are not even: a machine that is always on is planned to be busy for this share of a day
LARGEST_VOLUME = 100_000_000


class MonthlyCost(Protocol):
    """What a venue costs."""

    def month(self, images_a_day: float) -> float:
        """US dollars a month."""


@dataclass(frozen=True, slots=True)
class AlwaysOn:
    """Machines that run all the time, as many as the volume needs, at least one.

    per_image: US dollars of other calls for each image.
    """

    per_hour: float
    images_per_second: float
    per_image: float = 0.0

    def month(self, images_a_day: float) -> float:
        """US dollars a month."""
        machines = max(1, math.ceil(images_a_day / (self.images_per_second * DAY_SECONDS * BUSY_SHARE)))
        return DAYS * (machines * 24 * self.per_hour + images_a_day * self.per_image)


@dataclass(frozen=True, slots=True)
class Pool:
    """A small machine that is always on, and workers that run while there is work.

    always_on_per_hour: the machine of web tier and controller, and the workers that are kept (SHOAL_MIN_WORKERS).
    per_hour:           a worker.
    idle_seconds:       for each wave of photos a worker also starts, and stays idle until it is retired.
    waves_a_day:        how often photos come; never more than images a day.
    per_image:          US dollars of calls to S3 and SQS for each image.
    """

    always_on_per_hour: float
    per_hour: float
    images_per_second: float
    idle_seconds: float
    waves_a_day: float
    per_image: float

    def month(self, images_a_day: float) -> float:
        """US dollars a month."""
        idle = min(self.waves_a_day, images_a_day) * self.idle_seconds
        busy_hours = (images_a_day / self.images_per_second + idle) / 3600
        return DAYS * (24 * self.always_on_per_hour + busy_hours * self.per_hour + images_a_day * self.per_image)


@dataclass(frozen=True, slots=True)
class PerCall:
    """A function that is paid by call and by gigabyte-seconds, such as AWS Lambda."""

    gigabytes: float
    seconds: float
    per_gigabyte_second: float
    per_image: float

    def month(self, images_a_day: float) -> float:
        """US dollars a month."""
        return DAYS * images_a_day * (self.gigabytes * self.seconds * self.per_gigabyte_second + self.per_image)


@dataclass(frozen=True, slots=True)
class FirstUses:
    """Devices that label by themselves: only what each fetches at its first use is paid.

    a_day: how many new devices come; never more than images a day. per_use: US dollars.
    """

    per_use: float
    a_day: float

    def month(self, images_a_day: float) -> float:
        """US dollars a month."""
        return DAYS * min(self.a_day, images_a_day) * self.per_use


def per_thousand(cost: MonthlyCost, images_a_day: float) -> float:
    """US dollars for 1,000 images at a volume."""
    return 1000 * cost.month(images_a_day) / (DAYS * images_a_day)


def cheaper_from(one: MonthlyCost, other: MonthlyCost, at_least: int = 1) -> int | None:
    """The smallest volume, in images a day, from which `one` is cheaper than `other` up to the next crossing.

    Looks at volumes from `at_least` to LARGEST_VOLUME. Returns None when it is not cheaper at any of them.
    """
    for low, high in _steps(at_least):
        if _is_cheaper(one, other, low):
            return low
        if _is_cheaper(one, other, high):
            return _first(lambda volume: _is_cheaper(one, other, volume), low, high)
    return None


def _is_cheaper(one: MonthlyCost, other: MonthlyCost, volume: int) -> bool:
    return one.month(volume) < other.month(volume)


def _steps(at_least: int) -> list[tuple[int, int]]:
    """Intervals of volume, each five per cent wide."""
    edges = [at_least]
    while edges[-1] < LARGEST_VOLUME:
        edges.append(min(LARGEST_VOLUME, max(edges[-1] + 1, int(edges[-1] * 1.05))))
    return list(itertools.pairwise(edges))


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The smallest volume in (low, high] for which it holds, where it does not for `low` and does for `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
