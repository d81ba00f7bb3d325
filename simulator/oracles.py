"""What the best policy could do that knows the future: a bound that nothing beats, and a schedule that can be run."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, product

from simulator.run import Ran, Scenario, Unfinished, run
from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.world import World

NAME = "oracle"
STEPS = 20_000  # of the plan's time, at most
LEAST_STEP_SECONDS = 1.0
TRIED_SHARES = (0.95, 0.8, 0.6, 0.4, 0.2)  # of the target that the plan aims at: the rest is for what it cannot plan
WITHIN = 0.99  # of the photos that a schedule has to label within the target
SPEEDS = (1.0, 0.9)  # of the machines that the plan counts with


@dataclass(frozen=True, slots=True)
class CostBound:
    """machine_seconds and cost: no policy needs less. cost: in US dollars."""

    machine_seconds: float
    cost: float


def lower_bound(scenario: Scenario) -> CostBound:
    """Less machine time than this labels the photos under no policy.

    Each photo takes a machine's time, at least its service seconds: machines that share cores take longer, and a photo
    whose machine was killed is done twice. A machine is paid from its launch and works only after its boot, so besides
    the work there is at least one boot, at least as long as the shortest that can be drawn. A bill that is rounded up
    only adds.
    """
    seconds = math.fsum(scenario.world().service_seconds) + scenario.machines.boot.least
    return CostBound(seconds, scenario.prices.per_hour / 3600 * seconds)


@dataclass(frozen=True, slots=True)
class Shift:
    """A machine from `begin` to `end`, seconds at which it can work."""

    begin: float
    end: float


Plan = Sequence[Shift]


def best_schedules(scenario: Scenario) -> tuple[Ran | None, Ran | None]:
    """The cheapest schedule found that labels 99 % of the photos within the target, and the cheapest such late one.

    A late one launches no machine before the first photo after an idle time has come. None when none was found. Each
    plan is run in the world: one that anticipates also as a late one, which then is late where its plan was early.
    """
    early, late = _plans(scenario, anticipates=True), _plans(scenario, anticipates=False)
    best_late = _cheapest(_tried(scenario, plan, anticipates=False) for plan in [*late, *early])
    return _cheapest([best_late, *(_tried(scenario, plan, anticipates=True) for plan in early)]), best_late


def _cheapest(tried: Iterable[Ran | None]) -> Ran | None:
    return min((ran for ran in tried if ran), key=lambda ran: ran.figures.cost, default=None)


def _plans(scenario: Scenario, anticipates: bool) -> list[Plan]:
    """Schedules made with the arrivals and the mean times: for several shares of the target and speeds of machines."""
    target, boot = scenario.terms.target_seconds, scenario.machines.boot.mean
    return [
        _shifts(_levels(scenario, share * target, speed, anticipates), boot)
        for share, speed in product(TRIED_SHARES, SPEEDS)
    ]


def _tried(scenario: Scenario, shifts: Plan, anticipates: bool) -> Ran | None:
    boot = scenario.machines.boot.mean

    def make(world: World, conditions: Conditions) -> Scaler:
        return Planned(world, Group(world, 0, conditions.terms.limits.most), shifts, boot, anticipates)

    try:
        ran = run(NAME, scenario, make)
    except Unfinished:
        return None
    return ran if ran.figures.within >= WITHIN else None


@dataclass(frozen=True, slots=True)
class Levels:
    """How many machines the plan wants in each step of `step` seconds."""

    step: float
    counts: Sequence[int]


def _levels(scenario: Scenario, target: float, speed: float, anticipates: bool) -> Levels:
    """The fewest machines, late rather than early, with which each photo is done `target` after its arrival.

    Earliest deadline first: for each window from now on, the work whose deadline lies in it, divided by its length, is
    the least size (Yao, Demers and Shenker, 1995). A size is kept until the line is empty. No machine can work before
    one that is launched at the start has booted; nor, unless the plan anticipates, before one has that is launched when
    the first photo after an idle time has come.
    """
    seconds = max(scenario.seconds, scenario.arrivals[-1]) + target + 1
    step = max(LEAST_STEP_SECONDS, seconds / STEPS, target / 20 if target < 60 else 3.0)
    count = math.ceil(seconds / step) + 1
    work = scenario.machines.service.mean / speed
    arrived = [0.0] * (count + 1)
    for at in scenario.arrivals:
        arrived[int(at / step) + 1] += work
    arrived = list(accumulate(arrived))  # arrived[n]: work that has come by n * step
    lag = max(1, int(target / step))
    due = [0.0] * lag + arrived  # due[n]: work to be done by n * step
    most = scenario.terms.limits.most
    counts = array("l")
    booted = math.ceil(scenario.machines.boot.mean / step)
    done, level, ready = 0.0, 0, booted
    for at in range(count):
        waiting = arrived[at] - done
        if not anticipates and level == 0 and waiting <= 1e-9:
            ready = at + 1 + booted
        if at < ready:
            counts.append(0)
            continue
        needed = max((due[min(at + ahead, len(due) - 1)] - done) / (ahead * step) for ahead in range(1, lag + 1))
        least = min(most, math.ceil(needed - 1e-9))
        if waiting <= 1e-9 and least <= 0:
            level = 0
        elif least > level:
            level = least
        elif level * step > waiting + work:  # it would be done within this step: fewer will do
            level = max(least, min(level, math.ceil(waiting / step)))
        counts.append(level)
        done = min(arrived[min(at + 1, count)], done + level * step)
    return Levels(step, counts)


def _shifts(levels: Levels, boot: float) -> list[Shift]:
    """The machines of a plan. One that is wanted again within a boot time stays: to launch another costs as much."""
    shifts: list[Shift] = []
    for rank in range(1, max(levels.counts, default=0) + 1):
        open_shift: Shift | None = None
        for at, count in enumerate(levels.counts):
            if count < rank:
                continue
            begin, end = at * levels.step, (at + 1) * levels.step
            if open_shift is not None and begin - open_shift.end <= boot:
                open_shift = Shift(open_shift.begin, end)
                continue
            if open_shift is not None:
                shifts.append(open_shift)
            open_shift = Shift(begin, end)
        if open_shift is not None:
            shifts.append(open_shift)
    return sorted(shifts, key=lambda one: one.begin)


class Planned:
    """Carries out a plan."""

    def __init__(self, world: World, group: Group, shifts: Sequence[Shift], boot: float, anticipates: bool) -> None:
        self._world = world
        self._group = group
        self._anticipates = anticipates
        self._begins = sorted(one.begin - boot for one in shifts)
        self._ends = sorted(one.end for one in shifts)

    def tick(self) -> None:
        """Have as many machines as the plan. After its end the last one stays until every photo is done."""
        now, busy = self._world.now, self._world.backlog > 0
        wanted = bisect_right(self._begins, now) - bisect_right(self._ends, now)
        if busy:
            wanted = max(wanted, 1)
        elif not self._anticipates and not self._group.staying:
            wanted = 0
        self._group.resize(wanted)
