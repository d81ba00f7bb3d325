"""From a decision and the instances there are to what shall be done. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from controller.budget import Allowance
from controller.policy import Decision, Limits, Observation
from controller.sightings import LOOK_AGAIN_SECONDS, Patience, overdue, why_lost
from shoal.ports import Instance


@dataclass(frozen=True, slots=True)
class Launch:
    """Start instances of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask these instances to finish and leave. why: "" when the pool shall be smaller."""

    ids: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Terminate:
    """End these instances from outside, because they will not leave by themselves."""

    ids: tuple[str, ...]
    why: str


Act = Launch | Drain | Terminate


@dataclass(frozen=True, slots=True)
class Refusal:
    """How many instances were not launched, and why."""

    count: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be done, in this order, and what was wanted and may not be."""

    acts: tuple[Act, ...] = ()
    refused: tuple[Refusal, ...] = ()


NAME = "app-tier-instance-"
OVERDUE = "did not leave"


def plan(
    decision: Decision,
    observation: Observation,
    limits: Limits,
    patience: Patience,
    allowance: Allowance | None = None,
) -> Plan:
    """What turns the actual capacity into the desired one.

    Instances on their way out are never called back; while they exist they count against the cap. Lost ones are no
    capacity, so the same plan that ends them replaces them as far as the cap allows. allowance: of the budget.
    """
    acts = _ended(observation, patience)
    missing = decision.desired - observation.capacity
    refused: tuple[Refusal, ...] = ()
    if missing > 0:
        count, refused = gate(missing, observation, limits, allowance)
        if count:
            acts.append(Launch(free_names([one.name for one in observation.instances], count)))
    elif leaving := _first_to_leave(observation)[:-missing] if missing else ():
        acts.append(Drain(leaving))
    return Plan(tuple(acts), refused)


def gate(
    wanted: int, observation: Observation, limits: Limits, allowance: Allowance | None
) -> tuple[int, tuple[Refusal, ...]]:
    """The one gate that every launch passes: how many of `wanted` may be launched, and why the others may not."""
    room = max(0, limits.most - observation.machines)
    count = min(wanted, room)
    leaving = observation.machines - observation.capacity
    refused = [Refusal(wanted - count, f"cap {limits.most}, {leaving} on their way out count")]
    if allowance is not None and count > allowance.machines:
        refused.append(Refusal(count - allowance.machines, allowance.why))
        count = allowance.machines
    return count, tuple(one for one in refused if one.count)


def free_names(taken: Sequence[str], count: int) -> tuple[str, ...]:
    """The `count` lowest of app-tier-instance-1, -2, ... that are not taken."""
    used = set(taken)
    names = (f"{NAME}{number}" for number in range(1, len(used) + count + 1))
    return tuple(islice((name for name in names if name not in used), count))


def _ended(observation: Observation, patience: Patience) -> list[Act]:
    """The end of those that did not leave in time, and of the lost.

    A lost one is marked at one look and ended at a later one, when it is lost still. One that worked once and fell
    silent is asked to leave first: should it work on unheard, it keeps what it holds.
    """
    drains: dict[str, list[str]] = {}
    ends: dict[str, list[str]] = {}
    for one in observation.instances:
        sighting = observation.sightings.get(one.id)
        if sighting is None or (sighting.drain_seen is None and sighting.lost_since is None):
            continue
        if one.state in ("pending", "running") and overdue(sighting, observation.now, patience):
            ends.setdefault(OVERDUE, []).append(one.id)
        elif sighting.lost_since is not None and observation.now - sighting.lost_since >= LOOK_AGAIN_SECONDS:
            why = why_lost(sighting, one, observation.now, patience)
            if sighting.beat is None or one.state == "stopped":
                ends.setdefault(why, []).append(one.id)
            elif not observation.leaves(one):
                drains.setdefault(why, []).append(one.id)
    return [
        *(Terminate(tuple(ids), why) for why, ids in ends.items()),
        *(Drain(tuple(ids), why) for why, ids in drains.items()),
    ]


def _first_to_leave(observation: Observation) -> tuple[str, ...]:
    """The idle before the busy, what still boots before what works, the young before the old with warm caches."""

    def order(one: Instance) -> tuple[int, bool, float, str]:
        return observation.held(one.id), one.state != "pending", -one.launched_at, one.id

    return tuple(one.id for one in sorted(observation.staying, key=order))
