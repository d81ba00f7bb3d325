"""How many workers: what a policy sees and says, and the two rules that hold for every policy. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from shoal.ports import Depth, Instance

CAPACITY_STATES = ("pending", "running")


@dataclass(frozen=True, slots=True)
class Intent:
    """A launch that was asked for and may not show up in a listing yet.

    token: the launch's client token. names: one for each instance asked for. at: seconds since 1970.
    """

    token: str
    names: tuple[str, ...]
    at: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What one tick saw.

    now: seconds since 1970. depth: the request queue's counts. instances: all of the pool that are not terminated.
    intents: launches that are not in `instances` yet.
    """

    now: float
    depth: Depth
    instances: tuple[Instance, ...] = ()
    intents: tuple[Intent, ...] = ()

    @property
    def staying(self) -> tuple[Instance, ...]:
        """The instances that count as capacity: pending or running, and not asked to leave."""
        return tuple(one for one in self.instances if one.state in CAPACITY_STATES and one.drain_since is None)

    @property
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
    """What the operator allows: fewest and most instances, and how long (seconds) less work must last before the
    pool shrinks."""

    least: int
    most: int
    quiet_seconds: float


@dataclass(frozen=True, slots=True)
class Decision:
    """Desired capacity and why, in words."""

    desired: int
    reason: str


class Policy(Protocol):
    """A pure rule. It does not clamp, remember, log or act: that is done for all of them elsewhere."""

    def __call__(self, observation: Observation) -> Decision:
        """How many workers this observation asks for."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a policy asked for at one time (seconds since 1970)."""

    at: float
    count: int


def clamp(decision: Decision, limits: Limits) -> Decision:
    """Hold a decision between the limits, and say so when that changes it."""
    if decision.desired > limits.most:
        return Decision(limits.most, f"{decision.reason}; cap {limits.most}")
    if decision.desired < limits.least:
        return Decision(limits.least, f"{decision.reason}; at least {limits.least}")
    return decision


def recent(needs: Iterable[Need], now: float, quiet_seconds: float) -> tuple[Need, ...]:
    """The needs that still matter: those of the last `quiet_seconds`, and the last one before, which covers the
    window's beginning."""
    ordered = sorted(needs, key=lambda need: need.at)
    older = [need for need in ordered if need.at < now - quiet_seconds]
    return tuple(older[-1:] + [need for need in ordered if need.at >= now - quiet_seconds])


def stabilise(decision: Decision, needs: tuple[Need, ...], observation: Observation, limits: Limits) -> Decision:
    """Up at once; down only to the largest need within the quiet time.

    needs: what the policy asked for until now, this tick's need included, as `recent` keeps it. When they do not reach
    back over the whole window (the controller has just started), the pool is held as it is: one reading proves nothing.
    """
    capacity = observation.capacity
    if decision.desired >= capacity:
        return decision
    now, window = observation.now, limits.quiet_seconds
    since = min((need.at for need in needs), default=now)
    left = math.ceil(window - (now - since))
    if left > 0:
        return Decision(capacity, f"{decision.reason}; keep {capacity} until watched for {window:g} s ({left} s more)")
    largest = max(need.count for need in needs)
    if largest > decision.desired:
        held = min(largest, capacity)
        return Decision(held, f"{decision.reason}; keep {held}: needed within the last {window:g} s")
    return decision
