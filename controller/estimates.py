"""What the controller has measured, kept so that it follows drift. Pure; all times are the controller's own."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

KEPT_SAMPLES = 64
FADE = 0.95  # what a sample weighs after one more: ten older ones count as six, forty as eight parts of a hundred
GUESS_WEIGHT = 0.1  # the first measurement outweighs a guess
KEPT_POINTS = 64


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of durations, in seconds, in which the old fades. samples: (seconds, weight), oldest first."""

    samples: tuple[tuple[float, float], ...]

    @classmethod
    def guess(cls, seconds: float) -> Spread:
        """What to believe before anything was measured."""
        return cls(((seconds, GUESS_WEIGHT),))

    def add(self, seconds: float, weight: float = 1.0) -> Spread:
        """With one more measurement; `weight` is how many things it is the mean of."""
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
    """`count` unanswered photos have waited for at most `age` seconds, or longer: all those ahead of them in line are
    counted too, and none of those is younger."""

    count: int
    age: float


@dataclass(frozen=True, slots=True)
class Point:
    """One look at the line: when, how many photos were unanswered, how many had ever been finished."""

    at: float
    backlog: int
    finished: int


@dataclass(frozen=True, slots=True)
class Flow:
    """Photos coming and going, from the backlog's counts and what the workers say they finished.

    SQS tells nobody how old its oldest message is (CloudWatch does, minutes late), so the ages are derived: what was
    unanswered at a look, less what was finished since, still waits, and came no later than that look. This takes the
    queue for first in, first out, which it is nearly. What had waited before the first look counts as new then, and a
    count that was wrongly zero makes all that wait look as young as that look.
    """

    points: tuple[Point, ...] = ()
    arrivals: float = 0.0

    def seen(self, now: float, backlog: int, finished: int, memory_seconds: float) -> Flow:
        """After one more look. finished: photos finished since the look before. memory_seconds: over about how long
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

    @property
    def finished(self) -> int:
        """How many photos were finished since the first look."""
        return self.points[-1].finished if self.points else 0

    def waiting(self, now: float) -> tuple[Waiting, ...]:
        """The line, its oldest part first; counts grow, ages fall. Empty when nothing waits."""
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
    """How many of the photos that were unanswered at `point` still are."""
    return point.backlog - (last.finished - point.finished)


def _still_telling(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Without the looks whose photos are all answered, but for the last of these: the line began after it."""
    last = points[-1]
    begin = max((place for place, point in enumerate(points) if _left(point, last) <= 0), default=0)
    return points[begin:]


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """At most KEPT_POINTS, fewer of the old than of the new: ages get coarser, and never too small."""
    if len(points) <= KEPT_POINTS:
        return points
    half = KEPT_POINTS // 2
    return points[:half:2] + points[half:]
