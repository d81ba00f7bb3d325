"""Measurements in which the old fade, so that they follow drift. Pure; all times are by the controller's clock."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

KEPT_SAMPLES = 64
FADE = 0.95  # of a sample's weight at each new sample: ten back it weighs 0.6, fifty back 0.08
GUESS_WEIGHT = 0.1  # the first measurement outweighs a guess
KEPT_POINTS = 64


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of durations in which old samples fade. samples: (seconds, weight), oldest first."""

    samples: tuple[tuple[float, float], ...]

    @classmethod
    def guess(cls, seconds: float) -> Spread:
        """An estimate before the first measurement."""
        return cls(((seconds, GUESS_WEIGHT),))

    def add(self, seconds: float, weight: float = 1.0) -> Spread:
        """Add a measurement. weight: how many things it is the mean of."""
        older = tuple((value, share * FADE) for value, share in self.samples[1 - KEPT_SAMPLES :])
        return Spread((*older, (seconds, weight)))

    def quantile(self, share: float) -> float:
        """The smallest measured duration that at least `share` (0 to 1) of the weight does not exceed."""
        wanted = share * math.fsum(weight for _, weight in self.samples)
        reached = 0.0
        ordered = sorted(self.samples)
        for value, weight in ordered:
            reached += weight
            if reached >= wanted:
                return value
        return ordered[-1][0]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The first `count` photos of the line have waited for about `age` seconds or longer.

    `age` is an upper bound for the last of them; those ahead of it are not younger.
    """

    count: int
    age: float


@dataclass(frozen=True, slots=True)
class Point:
    """A look at the line. at: seconds since 1970. backlog: unanswered photos. finished: photos since the first look."""

    at: float
    backlog: int
    finished: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Arrivals and ages of photos, derived from the backlog and from what left the queue.

    SQS does not tell the age of its oldest message (CloudWatch does, minutes late). So the ages are derived: of the
    photos unanswered at a look, those not finished since still wait, and arrived before that look. This assumes first
    in, first out, which is nearly true. Photos that waited before the first look count as new at that look. A count
    that is wrongly 0 makes all waiting photos look as young as that look.
    """

    points: tuple[Point, ...] = ()
    arrivals: float = 0.0

    def seen(self, now: float, backlog: int, finished: int, memory_seconds: float) -> Flow:
        """After one more look. finished: photos finished since the last look. memory_seconds: the time over which
        `arrivals`, photos a second, is averaged."""
        if not self.points:
            return Flow((Point(now, backlog, 0),))
        last = self.points[-1]
        point = Point(now, backlog, last.finished + finished)
        passed = now - last.at
        if passed <= 0:
            return replace(self, points=(*self.points[:-1], point))
        rate = max(0.0, (backlog - last.backlog + finished) / passed)
        blend = 1 - math.exp(-passed / memory_seconds)
        return Flow(_thinned(_still_telling((*self.points, point))), self.arrivals + (rate - self.arrivals) * blend)

    def waiting(self, now: float) -> tuple[Waiting, ...]:
        """The parts of the line, oldest first: counts grow, ages fall. Empty when nothing waits."""
        if not self.points:
            return ()
        last = self.points[-1]
        line: list[Waiting] = []
        since = self.points[0].at
        for point in self.points:
            left = min(last.backlog, _left(point, last))
            if left > (line[-1].count if line else 0):
                # They came after the look before this one, so they may be that old.
                line.append(Waiting(left, now - since))
            since = point.at
        return tuple(line)


def _left(point: Point, last: Point) -> int:
    """How many of the photos that were unanswered at `point` still wait."""
    return point.backlog - (last.finished - point.finished)


def _still_telling(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Drop the looks whose photos are all answered, except the last of them: the line began after it."""
    last = points[-1]
    begin = max((place for place, point in enumerate(points) if _left(point, last) <= 0), default=0)
    return points[begin:]


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """At most KEPT_POINTS, more of the new than of the old: ages get coarser, never too small."""
    if len(points) <= KEPT_POINTS:
        return points
    half = KEPT_POINTS // 2
    return points[:half:2] + points[half:]
