"""What a policy sees and returns, and the rules that hold for every policy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Protocol

from controller.calendar import Calendar
from controller.estimates import Spread, Waiting
from controller.sightings import CAPACITY_STATES, Losses, Sighting
from controller.tally import Tally
from controller.throughput import Throughput
from shoal.ports import MOST_IN_PROGRESS, Depth, Instance

READY_BOOTS = 4  # boot times that the mean need is taken over, where a boot takes longer than the target
READY_FACTOR = 1.5  # of that mean need stays


@dataclass(frozen=True, slots=True)
class Intent:
    """A launch that was asked for and that a listing may not show yet.

    token: the launch's client token. names: of the instances. at: seconds since 1970.
    """

    token: str
    names: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Measurements for a policy.

    service:  seconds of a worker's time for a photo, under the present load.
    boot:     seconds from a launch to the worker's first beat.
    arrivals: photos a second, lately.
    waiting:  how many unanswered photos have waited for how long, oldest first.
    tally:    photos that arrived and that were finished since this controller started.
    throughput: how the rate of the pool grew with its workers.
    """

    service: Spread = field(default_factory=lambda: Spread.guess(1.0))
    boot: Spread = field(default_factory=lambda: Spread.guess(30.0))
    arrivals: float = 0.0
    waiting: tuple[Waiting, ...] = ()
    tally: Tally = field(default_factory=Tally)
    throughput: Throughput = field(default_factory=Throughput)

    @property
    def service_seconds(self) -> float:
        """The service time to plan with: three of four measurements were not longer."""
        return self.service.quantile(0.75)

    @property
    def boot_seconds(self) -> float:
        """The boot time to plan with: nine of ten measurements were not longer."""
        return self.boot.quantile(0.9)


@dataclass(frozen=True, slots=True)
class BulkNeed:
    """The workers that the bulk runs need, and why, in words."""

    workers: int = 0
    why: str = ""


@dataclass(frozen=True)
class Observation:
    """What one tick saw.

    now:       seconds since 1970.
    depth:     the request queue's counts.
    instances: all instances of the pool that are not terminated.
    intents:   launches that `instances` does not show yet.
    sightings: what is known of each instance, by its id.
    standstill: why nothing gets on although photos wait, when no worker is to blame; "" when all is well.
    never_came: launches in a row whose workers never registered.
    bulk:      what the bulk runs need. No policy looks at it.
    lost:      what ended since the look before although nobody asked it to.
    """

    now: float
    depth: Depth
    instances: tuple[Instance, ...] = ()
    intents: tuple[Intent, ...] = ()
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)
    standstill: str = ""
    never_came: int = 0
    bulk: BulkNeed = field(default_factory=BulkNeed)
    lost: Losses = field(default_factory=Losses)

    @cached_property
    def staying(self) -> tuple[Instance, ...]:
        """The instances that count as capacity: pending or running, not draining, not lost."""
        known = self.sightings.get
        return tuple(
            one
            for one in self.instances
            if one.state in CAPACITY_STATES
            and one.drain_since is None
            and not ((seen := known(one.id)) and (seen.lost_since is not None or (seen.beat and seen.beat.leaving)))
        )

    def leaves(self, one: Instance) -> bool:
        """Whether the instance was asked to leave, or says that it leaves."""
        sighting = self.sightings.get(one.id)
        said = sighting is not None and sighting.beat is not None and sighting.beat.leaving
        return said or one.drain_since is not None

    def is_lost(self, name: str) -> bool:
        """Whether the instance exists and does not work: it never registered, fell silent or is stopped."""
        sighting = self.sightings.get(name)
        return sighting is not None and sighting.lost_since is not None

    def in_progress(self, name: str) -> int:
        """Messages that the instance's worker said it works on."""
        sighting = self.sightings.get(name)
        return sighting.beat.in_progress if sighting is not None and sighting.beat is not None else 0

    def busy_with(self, name: str) -> int:
        """The same, and photos of bulk runs."""
        sighting = self.sightings.get(name)
        return self.in_progress(name) + (sighting.beat.bulk if sighting is not None and sighting.beat else 0)

    @cached_property
    def told_in_progress(self) -> int:
        """Messages that all workers together said they work on."""
        return sum(self.in_progress(name) for name, sighting in self.sightings.items() if sighting.lost_since is None)

    @cached_property
    def intended(self) -> int:
        """Instances that were asked for and do not show up yet."""
        return sum(len(intent.names) for intent in self.intents)

    @property
    def unheard(self) -> int:
        """Machines on their way up, whose worker has not registered yet."""
        known = self.sightings.get
        return self.intended + sum((seen := known(one.id)) is None or seen.beat is None for one in self.staying)

    @property
    def capacity(self) -> int:
        """Workers now or soon, without another launch: pending instances and intents count."""
        return len(self.staying) + self.intended

    @property
    def machines(self) -> int:
        """Machines that exist or may exist, draining ones included. The cap limits these."""
        return len(self.instances) + self.intended


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows.

    least, most:    fewest and most instances.
    quiet_seconds:  how long no worker must be needed before the pool goes to 0.
    window_seconds: a pool shrinks to the largest need within this time, unless it goes to 0.
    tolerance:      a pool that is too large by less than this share of its size stays as it is.
    """

    least: int
    most: int
    quiet_seconds: float
    window_seconds: float = 10.0
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator wants: the limits, and the parameters of the policies.

    target_seconds: the longest time a photo should wait.
    qos:            messages for each worker.
    scale_factor:   the share of a change that is made at once (0 to 1].
    steps:          (backlog, workers), both growing: from this backlog on, that many workers.
    calendar:       a minimum by the time of the week.
    """

    limits: Limits
    target_seconds: float = 60.0
    qos: float = 5.0
    scale_factor: float = 1.0
    steps: tuple[tuple[int, int], ...] = ((1, 1), (10, 3), (50, 8), (200, 15))
    calendar: Calendar = field(default_factory=Calendar)


@dataclass(frozen=True, slots=True)
class Decision:
    """Desired capacity and why, in words.

    held: more workers would not help. Those that are too many may leave though they have photos to finish.
    """

    desired: int
    reason: str
    held: bool = False


def figure(value: float) -> str:
    """A measurement in a reason: 0.42, 9, 240. Two digits, and all of a whole number's."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


class Policy(Protocol):
    """A pure rule. It does not clamp, remember, log or act: other code does that for all policies."""

    def __call__(self, observation: Observation, terms: Terms) -> Decision:
        """The number of workers that this observation needs, and why."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a policy asked for. at: seconds since 1970. count: workers."""

    at: float
    count: int


def hold_work(decision: Decision, observation: Observation) -> Decision:
    """Keep as many workers as the messages in flight need, and at least 1 while there is a backlog.

    Of a held pool, the messages in flight that no worker tells of: a worker that leaves finishes its own.
    """
    depth = observation.depth
    in_flight = depth.in_flight - observation.told_in_progress if decision.held else depth.in_flight
    fewest = math.ceil(in_flight / MOST_IN_PROGRESS) or min(1, depth.total)
    if decision.desired >= fewest:
        return decision
    return Decision(fewest, f"{decision.reason}; {fewest} for {depth.in_flight} in work, {depth.total} in all")


def for_bulk(decision: Decision, need: BulkNeed) -> Decision:
    """As many workers as the bulk runs need, if the photos of people need fewer: one pool does both, these first."""
    if need.workers <= decision.desired:
        return decision
    return Decision(need.workers, f"{decision.reason}; {need.why}")


def clamp(decision: Decision, limits: Limits) -> Decision:
    """Keep a decision within the limits, and say so when that changes it."""
    if decision.desired > limits.most:
        return Decision(limits.most, f"{decision.reason}; cap {limits.most}")
    if decision.desired < limits.least:
        return Decision(limits.least, f"{decision.reason}; at least {limits.least}")
    return decision


def recent(needs: Iterable[Need], now: float, seconds: float) -> tuple[Need, ...]:
    """The needs of the last `seconds`, oldest first, and the last need before, which held at their beginning."""
    begin = now - seconds
    kept = sorted(needs, key=lambda need: need.at)
    first = next((place for place, need in enumerate(kept) if need.at >= begin), len(kept))
    return tuple(kept[max(0, first - 1) :])


def stabilise(decision: Decision, needs: tuple[Need, ...], observation: Observation, limits: Limits) -> Decision:
    """Grow at once. Shrink only to the largest need within the window; to 0 after a delay of its own.

    needs: what the policy asked for until now, this tick included, as `recent` keeps it. When they do not cover the
           whole window (the controller has just started), the pool stays as it is: one reading proves nothing.
    """
    capacity, wanted = observation.capacity, decision.desired
    if wanted >= capacity:
        return decision
    if wanted and capacity - wanted < limits.tolerance * capacity:
        return Decision(capacity, f"{decision.reason}; keep {capacity}: near enough")
    window = limits.window_seconds if wanted else limits.quiet_seconds
    begin = observation.now - window
    left = math.ceil(min((need.at for need in needs), default=observation.now) - begin)
    if left > 0:
        return Decision(capacity, f"{decision.reason}; keep {capacity} until watched for {window:g} s ({left} s more)")
    largest = max(need.count for need in recent(needs, observation.now, window))
    if largest > wanted:
        held = min(largest, capacity)
        return Decision(held, f"{decision.reason}; keep {held}: needed within the last {window:g} s")
    return decision


def keep_ready(decision: Decision, needs: tuple[Need, ...], observation: Observation, terms: Terms) -> Decision:
    """Where a boot takes longer than the target, keep workers for the next photos, which no launch serves in time.

    The last worker stays for a boot time after the last need. To wait as long as a new start would take is the
    break-even rule of ski rental (Karlin and others, 1988): it costs at most twice what the best choice would. Of more
    workers, READY_FACTOR times the mean need of the last READY_BOOTS boot times stay: bursts that come every few
    minutes find a pool, and after the last one the stay costs no more than READY_FACTOR times the work.
    """
    boot = observation.measured.boot_seconds
    if decision.held or boot <= terms.target_seconds:
        return decision
    seconds = READY_BOOTS * boot
    last = int(any(need.count for need in recent(needs, observation.now, boot)))
    kept = min(observation.capacity, max(last, round(READY_FACTOR * mean_need(needs, observation.now, seconds))))
    if kept <= decision.desired:
        return decision
    late = f"a boot of {figure(boot)} s is longer than the target"
    if kept == 1:
        return Decision(1, f"{decision.reason}; keep 1: {late}, so the last stays for a while")
    why = f"{late}, so {READY_FACTOR:g} times the mean need of the last {figure(seconds)} s stay"
    return Decision(kept, f"{decision.reason}; keep {kept}: {why}")


def mean_need(needs: tuple[Need, ...], now: float, seconds: float) -> float:
    """The mean of the needs over the last `seconds`. needs: as `recent` returns them; before the first it was 0."""
    begin = now - seconds
    return sum(one.count * (max(begin, then.at) - max(begin, one.at)) for one, then in pairwise(needs)) / seconds


def decide(
    policy: Policy, observation: Observation, needs: tuple[Need, ...], terms: Terms
) -> tuple[Decision, tuple[Need, ...]]:
    """Ask the policy and apply the rules for all policies. Returns the decision, and the needs for the next tick.

    needs: those that the last tick returned.
    """
    limits = terms.limits
    wanted = for_bulk(hold_work(policy(observation, terms), observation), observation.bulk)
    needs = (*needs, Need(observation.now, wanted.desired))
    boot = observation.measured.boot_seconds
    ready = READY_BOOTS * boot if boot > terms.target_seconds else 0.0
    needs = recent(needs, observation.now, max(limits.quiet_seconds, limits.window_seconds, ready))
    stable = stabilise(wanted, needs, observation, limits)
    return clamp(keep_ready(stable, needs, observation, terms), limits), needs
