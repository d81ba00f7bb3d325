"""From a decision and the present instances to the acts that follow. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from controller.budget import Allowance
from controller.policy import Decision, Limits, Observation
from controller.sightings import LOOK_AGAIN_SECONDS, Patience, overdue, why_lost
from shoal.ledger import Refusal
from shoal.ports import Instance


@dataclass(frozen=True, slots=True)
class Launch:
    """Start instances of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask these instances to finish and leave. why: "" when the pool is to shrink."""

    ids: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Terminate:
    """Terminate these instances from outside: they do not leave by themselves."""

    ids: tuple[str, ...]
    why: str


Act = Launch | Drain | Terminate


@dataclass(frozen=True, slots=True)
class Plan:
    """The acts to do, in this order, and the launches that are refused."""

    acts: tuple[Act, ...] = ()
    refused: tuple[Refusal, ...] = ()


NAME = "app-tier-instance-"
OVERDUE = "did not leave"
SEVERAL = 2  # launches without a worker: the first may have had bad luck
NEVER_CAME = "no worker came of the last launches, so machines are tried one at a time until one comes"


def plan(
    decision: Decision,
    observation: Observation,
    limits: Limits,
    patience: Patience,
    allowance: Allowance | None = None,
) -> Plan:
    """The acts that turn the actual capacity into the desired one.

    Draining instances are never called back, and count against the cap while they exist. Lost instances are no
    capacity: the plan that ends them also replaces them, as far as the cap allows. allowance: of the budget.
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
    """The gate that every launch passes: how many of `wanted` may be launched, and why the others may not."""
    room = max(0, limits.most - observation.machines)
    count = min(wanted, room)
    leaving = observation.machines - observation.capacity
    refused = [Refusal.by_cap(wanted - count, limits.most, leaving)]
    if _none_comes(observation) and count > (tries := max(0, 1 - observation.unheard)):
        refused.append(Refusal(count - tries, NEVER_CAME))
        count = tries
    if allowance is not None and count > allowance.machines:
        refused.append(Refusal(count - allowance.machines, allowance.why))
        count = allowance.machines
    return count, tuple(one for one in refused if one.count)


def _none_comes(observation: Observation) -> bool:
    """Whether machines start and no worker comes: a broken image, role or network. Then they cost and do nothing."""
    works = any(one.beat is not None and one.lost_since is None for one in observation.sightings.values())
    return observation.never_came >= SEVERAL and not works


def free_names(taken: Sequence[str], count: int) -> tuple[str, ...]:
    """The `count` lowest names of app-tier-instance-1, -2, ... that are not taken."""
    used = set(taken)
    names = (f"{NAME}{number}" for number in range(1, len(used) + count + 1))
    return tuple(islice((name for name in names if name not in used), count))


def _ended(observation: Observation, patience: Patience) -> list[Act]:
    """Terminate overdue instances; drain or terminate lost ones.

    A lost instance is marked at one look and ended at a later look, if it is still lost. An instance that worked and
    fell silent is drained first: if it works on unheard, it keeps its messages in progress. So is a stuck one, unless
    it has none.
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
            if sighting.beat is None or one.state == "stopped" or (sighting.stuck and not sighting.beat.in_progress):
                ends.setdefault(why, []).append(one.id)
            elif not observation.leaves(one):
                drains.setdefault(why, []).append(one.id)
    return [
        *(Terminate(tuple(ids), why) for why, ids in ends.items()),
        *(Drain(tuple(ids), why) for why, ids in drains.items()),
    ]


def _first_to_leave(observation: Observation) -> tuple[str, ...]:
    """Idle before busy, booting before running, young before old: the old have warm caches."""

    def order(one: Instance) -> tuple[int, bool, float, str]:
        return observation.busy_with(one.id), one.state != "pending", -one.launched_at, one.id

    return tuple(one.id for one in sorted(observation.staying, key=order))
