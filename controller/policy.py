"""How many workers: what a policy sees and says, and the rules that hold for every policy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from controller.calendar import Calendar
from controller.estimates import Spread, Waiting
from controller.sightings import Sighting
from shoal.ports import Depth, Instance

CAPACITY_STATES = ("pending", "running")
HELD_MESSAGES = 32  # what a worker works on at once, app_tier.worker's figure: fewer workers could not hold them


@dataclass(frozen=True, slots=True)
class Intent:
    """A launch that was asked for and may not show up in a listing yet.

    token: the launch's client token. names: one for each instance asked for. at: seconds since 1970.
    """

    token: str
    names: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Measured:
    """What was learned from watching, as far as a policy needs it.

    service:  seconds of a worker's time that one photo costs, under the load there is.
    boot:     seconds from a launch to the worker's first beat.
    arrivals: photos a second, lately.
    waiting:  how many unanswered photos have waited for how long, the oldest first.
    finished: photos that workers finished since this controller started.
    """

    service: Spread = field(default_factory=lambda: Spread.guess(1.0))
    boot: Spread = field(default_factory=lambda: Spread.guess(30.0))
    arrivals: float = 0.0
    waiting: tuple[Waiting, ...] = ()
    finished: int = 0

    @property
    def service_seconds(self) -> float:
        """The service time to plan with: three of four measurements were no longer."""
        return self.service.quantile(0.75)

    @property
    def boot_seconds(self) -> float:
        """The boot time to plan with: nine of ten measurements were no longer."""
        return self.boot.quantile(0.9)


@dataclass(frozen=True)
class Observation:
    """What one tick saw.

    now: seconds since 1970. depth: the request queue's counts. instances: all of the pool that are not terminated.
    intents: launches that are not in `instances` yet. sightings: what is known of each instance, by its id.
    """

    now: float
    depth: Depth
    instances: tuple[Instance, ...] = ()
    intents: tuple[Intent, ...] = ()
    sightings: Mapping[str, Sighting] = field(default_factory=dict)
    measured: Measured = field(default_factory=Measured)

    @cached_property
    def staying(self) -> tuple[Instance, ...]:
        """The instances that count as capacity: pending or running, not asked to leave, not lost."""
        known = self.sightings.get
        return tuple(
            one
            for one in self.instances
            if one.state in CAPACITY_STATES
            and one.drain_since is None
            and not ((seen := known(one.id)) and (seen.lost_since is not None or (seen.beat and seen.beat.leaving)))
        )

    def leaves(self, one: Instance) -> bool:
        """Whether the instance was asked to leave, or says that it does."""
        sighting = self.sightings.get(one.id)
        said = sighting is not None and sighting.beat is not None and sighting.beat.leaving
        return said or one.drain_since is not None

    def is_lost(self, name: str) -> bool:
        """Whether the instance exists and does not work: it never registered, or fell silent."""
        sighting = self.sightings.get(name)
        return sighting is not None and sighting.lost_since is not None

    def held(self, name: str) -> int:
        """Messages that the instance's worker said it holds."""
        sighting = self.sightings.get(name)
        return sighting.beat.held if sighting is not None and sighting.beat is not None else 0

    @cached_property
    def intended(self) -> int:
        """Instances asked for that did not show up yet."""
        return sum(len(intent.names) for intent in self.intents)

    @property
    def capacity(self) -> int:
        """Workers there are or will be without another launch: pending ones and intents count."""
        return len(self.staying) + self.intended

    @property
    def machines(self) -> int:
        """Machines that exist or may exist, those on their way out included: what the cap is about."""
        return len(self.instances) + self.intended


@dataclass(frozen=True, slots=True)
class Limits:
    """What the operator allows.

    least, most:    fewest and most instances.
    quiet_seconds:  how long nothing must be needed before the pool goes to zero.
    window_seconds: a pool that does not go to zero shrinks to the largest need within this time.
    tolerance:      a pool that is too large by less than this share of it is left as it is.
    """

    least: int
    most: int
    quiet_seconds: float
    window_seconds: float = 10.0
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator wants: the limits, and what the policies can be told.

    target_seconds: the wait that a photo may have.
    qos:            messages that one worker is meant for.
    scale_factor:   the share of the way to the desired number that is gone at once (0 to 1].
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
    """Desired capacity and why, in words."""

    desired: int
    reason: str


class Policy(Protocol):
    """A pure rule. It does not clamp, remember, log or act: that is done for all of them elsewhere."""

    def __call__(self, observation: Observation, terms: Terms) -> Decision:
        """How many workers this observation asks for."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a policy asked for at one time (seconds since 1970)."""

    at: float
    count: int


def hold_work(decision: Decision, observation: Observation) -> Decision:
    """Never fewer workers than are needed to hold the messages in flight, and not none while anything waits."""
    depth = observation.depth
    fewest = math.ceil(depth.in_flight / HELD_MESSAGES) or min(1, depth.total)
    if decision.desired >= fewest:
        return decision
    return Decision(fewest, f"{decision.reason}; {fewest} for {depth.in_flight} in work, {depth.total} in all")


def clamp(decision: Decision, limits: Limits) -> Decision:
    """Hold a decision between the limits, and say so when that changes it."""
    if decision.desired > limits.most:
        return Decision(limits.most, f"{decision.reason}; cap {limits.most}")
    if decision.desired < limits.least:
        return Decision(limits.least, f"{decision.reason}; at least {limits.least}")
    return decision


def recent(needs: Iterable[Need], now: float, seconds: float) -> tuple[Need, ...]:
    """The needs of the last `seconds`, oldest first, and the last one before them, which covers the beginning."""
    begin = now - seconds
    kept = sorted(needs, key=lambda need: need.at)
    first = next((place for place, need in enumerate(kept) if need.at >= begin), len(kept))
    return tuple(kept[max(0, first - 1) :])


def stabilise(decision: Decision, needs: tuple[Need, ...], observation: Observation, limits: Limits) -> Decision:
    """Up at once; down only to the largest need within the window; to zero after a delay of its own.

    needs: what the policy asked for until now, this tick's need included, as `recent` keeps it. When they do not reach
    back over the whole window (the controller has just started), the pool is held as it is: one reading proves nothing.
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


def decide(
    policy: Policy, observation: Observation, needs: tuple[Need, ...], terms: Terms
) -> tuple[Decision, tuple[Need, ...]]:
    """The policy's word under the rules that hold for all, and the needs to hand in at the next tick.

    needs: those of the ticks before.
    """
    limits = terms.limits
    wanted = hold_work(policy(observation, terms), observation)
    needs = (*needs, Need(observation.now, wanted.desired))
    needs = recent(needs, observation.now, max(limits.quiet_seconds, limits.window_seconds))
    return clamp(stabilise(wanted, needs, observation, limits), limits), needs
