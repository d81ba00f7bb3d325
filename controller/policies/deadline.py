"""The smallest pool that answers the waiting photos within the target. Pure. The default.

Photos are answered in the order in which they came. For every part of the line, the workers must have done all of it
by the time at which its photos have waited for the target: earliest deadline first, applied to what was measured.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from controller.estimates import Waiting
from controller.policy import Decision, Observation, Terms


def policy(observation: Observation, terms: Terms) -> Decision:
    """The largest of what each part of the line needs, and of what keeps pace with the arrivals.

    A launch is asked for only when its worker would find work: what the present workers answer before a new one would
    be up is left to them. Photos that cannot be answered within the target any more are answered as soon as half a
    target of each new worker's time allows, so that a late handful does not start a machine each.
    """
    if not observation.depth.total:
        return Decision(0, "nothing waits: need 0")
    measured = observation.measured
    seconds, boot = measured.service_seconds, measured.boot_seconds
    crew = _Crew.of(observation, boot)
    line = _line(observation)
    pace = math.ceil(measured.arrivals * seconds)
    # What a worker holds stays with it: a new one finds work only in what nobody has taken yet.
    free = (observation.depth.visible + observation.depth.delayed) * seconds
    need = max(pace, *(_need(part, seconds, boot, terms.target_seconds, crew, free) for part in line))
    return Decision(need, _reason(seconds, boot, line, terms.target_seconds, crew, need))


def _line(observation: Observation) -> Sequence[Waiting]:
    """The parts of the line, and all of it with no age: what the counts show besides the line just came."""
    return (*observation.measured.waiting, Waiting(observation.depth.total, 0.0))


@dataclass(frozen=True, slots=True)
class _Crew:
    """The workers there are. boots: seconds until each of them can work, the first first; sums: of the first n."""

    boots: tuple[float, ...]
    sums: tuple[float, ...]

    @classmethod
    def of(cls, observation: Observation, boot: float) -> _Crew:
        now, sightings = observation.now, observation.sightings
        boots = []
        for one in observation.staying:
            seen = sightings.get(one.id)
            begun = one.launched_at if seen is None else seen.first_seen
            ready = one.state == "running" if seen is None else seen.beat is not None
            boots.append(0.0 if ready else max(0.0, boot - (now - begun)))
        for intent in observation.intents:
            boots += [max(0.0, boot - (now - intent.at))] * len(intent.names)
        boots.sort()
        return cls(tuple(boots), (0.0, *accumulate(boots)))

    def seconds_within(self, count: int, horizon: float) -> float:
        """The work that the first `count` can do until `horizon` seconds from now."""
        working = min(count, bisect_right(self.boots, horizon))
        return working * horizon - self.sums[working]

    def fewest(self, work: float, horizon: float) -> int | None:
        """How many of them do `work` seconds of work until `horizon`; None when all together do not."""
        everybody = len(self.boots)
        if self.seconds_within(everybody, horizon) < work:
            return None
        return bisect_left(range(everybody), work, key=lambda count: self.seconds_within(count, horizon))


def _need(part: Waiting, seconds: float, boot: float, target: float, crew: _Crew, free: float) -> int:
    work = part.count * seconds
    left = target - part.age
    fewest = crew.fewest(work, left)
    if fewest is not None:
        return max(1, fewest)
    # Late, or about to be: nobody is sent away, and new ones come if they would find work for half a target.
    present = len(crew.boots)
    horizon = max(left, boot + target / 2)
    missing = min(work - crew.seconds_within(present, horizon), free)
    return max(1, present + max(0, math.ceil(missing / (horizon - boot))))


def _reason(seconds: float, boot: float, line: Sequence[Waiting], target: float, crew: _Crew, need: int) -> str:
    oldest = f", oldest {line[0].age:.0f} s" if line[0].age >= 1 else ""
    launch = f", a launch takes {boot:.2g} s" if need > len(crew.boots) else ""
    return f"{seconds:.2g} s each{oldest}{launch}, target {target:g} s: need {need}"
