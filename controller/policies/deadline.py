"""The smallest pool that answers the waiting photos within the target. Pure. The default.

Photos are answered in the order of arrival. The workers must finish each part of the line before its photos have
waited for the target time: earliest deadline first, applied to the measurements.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from controller.estimates import Waiting
from controller.policy import Decision, Observation, Terms, figure

LEAST_TOLD_PER_SECOND = 0.1  # slower arrivals need no worker of their own
NEAR_CAP = 0.25  # of the most instances, needed for what arrives: from here on the line is answered sooner
NEAR_CAP_AIM = 0.6  # of the target, as the time to plan with then


def policy(observation: Observation, terms: Terms) -> Decision:
    """The largest need of the parts of the line and of the arrival rate, if that many workers do more than fewer.

    It asks for a launch only when the new worker would find work: photos that the present workers answer before it
    boots are left to them. Photos that are too late for the target get as many new workers as would each have half a
    target of work, so that a few late photos do not start a machine each. Workers that share something take longer for
    each photo the more they are: `Throughput.bound` says how many of them are sensible.

    A crowd grows further while workers boot. Below the cap later launches make up for it; at the cap nothing does. So
    once the arrivals need a good part of the cap, the line is planned for a shorter time than the target.
    """
    if not observation.depth.total:
        return Decision(0, "nothing waits: need 0")
    measured = observation.measured
    throughput = measured.throughput
    seconds, boot = throughput.planned_seconds(measured.service_seconds), measured.boot_seconds
    crew = _Crew.of(observation, boot)
    line = _line(observation)
    aimed = _aimed(terms, line, boot, measured.arrivals, seconds)
    need = _needed(observation, line, seconds, aimed, crew)
    if not throughput.is_known:
        # It may be late because the workers share something. Until it is known, only new photos start others.
        fresh = _needed(observation, line[-1:], min(seconds, throughput.alone()), terms, crew)
        need = min(need, max(observation.capacity, fresh))
    goal = f"target {terms.target_seconds:g} s"
    if aimed != terms:
        goal = f"{goal}, {aimed.target_seconds:g} s while so many arrive"
    reason = _reason(seconds, boot, measured.arrivals, line, goal, crew, need)
    bound = throughput.bound(observation.now, observation.depth.total)
    if bound is None or need <= bound.workers:
        return Decision(need, reason)
    return Decision(bound.workers, f"{reason}; {bound.why}: {bound.workers}", held=True)


def _aimed(terms: Terms, line: Sequence[Waiting], boot: float, arrivals: float, seconds: float) -> Terms:
    """With the time to plan with as target: less than the target while a crowd comes that may need the whole cap.

    A crowd comes when on average, and in both halves of the last boot time, so many came that a good part of the cap
    works for them. A burst that came at once lies in one half: it does not grow.
    arrivals: a second, on average. seconds: of a worker's time for a photo.
    """
    if boot >= terms.target_seconds or not boot:
        return terms
    old, ripe = (_older(line, age) for age in (boot, boot / 2))
    steady = min(ripe - old, line[-1].count - ripe) / (boot / 2)
    if min(arrivals, steady) * seconds < NEAR_CAP * terms.limits.most:
        return terms
    return replace(terms, target_seconds=NEAR_CAP_AIM * terms.target_seconds)


def _older(line: Sequence[Waiting], age: float) -> int:
    """How many photos of the line have waited longer."""
    return max((part.count for part in line if part.age > age), default=0)


def _needed(observation: Observation, line: Sequence[Waiting], seconds: float, terms: Terms, crew: _Crew) -> int:
    """The largest need of the parts of the line and of the arrival rate. seconds: of a worker's time for a photo."""
    pace = math.ceil(observation.measured.arrivals * seconds)
    # Messages in progress stay with their workers: a new worker finds work only in the others.
    free = (observation.depth.visible + observation.depth.delayed) * seconds
    boot = observation.measured.boot_seconds
    return max(pace, *(_need(part, seconds, boot, terms.target_seconds, crew, free) for part in line))


def _line(observation: Observation) -> Sequence[Waiting]:
    """The parts of the line, and the whole backlog with age 0: photos that only the counts show have just arrived."""
    return (*observation.measured.waiting, Waiting(observation.depth.total, 0.0))


@dataclass(frozen=True, slots=True)
class _Crew:
    """The present workers. boots: seconds until each can work, ascending; sums: of the first n of them."""

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
        """Seconds of work that the first `count` workers can do until `horizon` seconds from now."""
        working = min(count, bisect_right(self.boots, horizon))
        return working * horizon - self.sums[working]

    def fewest(self, work: float, horizon: float) -> int | None:
        """The fewest workers that do `work` seconds of work until `horizon`; None when all together cannot."""
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
    # Late, or soon late: no worker leaves, and new ones come if each would have half a target of work.
    present = len(crew.boots)
    horizon = max(left, boot + target / 2)
    missing = min(work - crew.seconds_within(present, horizon), free)
    return max(1, present + max(0, math.ceil(missing / (horizon - boot))))


def _reason(
    seconds: float, boot: float, arrivals: float, line: Sequence[Waiting], goal: str, crew: _Crew, need: int
) -> str:
    rate = f", {figure(arrivals)} arrive a second" if arrivals >= LEAST_TOLD_PER_SECOND else ""
    oldest = f", oldest {line[0].age:.0f} s" if line[0].age >= 1 else ""
    launch = f", a launch takes {figure(boot)} s" if need > len(crew.boots) else ""
    return f"{figure(seconds)} s each{rate}{oldest}{launch}, {goal}: need {need}"
