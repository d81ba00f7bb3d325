"""From a decision and the instances there are to what shall be done. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.policy import Decision, Limits, Observation
from shoal.ports import Instance


@dataclass(frozen=True, slots=True)
class Launch:
    """Start instances of these names."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask these instances to finish and leave."""

    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Terminate:
    """End these instances from outside, because they did not leave by themselves."""

    ids: tuple[str, ...]


Act = Launch | Drain | Terminate

NAME = "app-tier-instance-"


def plan(decision: Decision, observation: Observation, limits: Limits, drain_seconds: float) -> list[Act]:
    """What turns the actual capacity into the desired one.

    drain_seconds: how long an instance may take to leave before it counts as dead.
    Instances on their way out are never called back; while they exist they count against the cap.
    """
    acts: list[Act] = []
    overdue = tuple(one.id for one in observation.instances if _overdue(one, observation.now, drain_seconds))
    if overdue:
        acts.append(Terminate(overdue))
    missing = decision.desired - observation.capacity
    if missing > 0:
        count = min(missing, room(observation, limits))
        if count > 0:
            acts.append(Launch(free_names([one.name for one in observation.instances], count)))
    elif missing < 0:
        acts.append(Drain(tuple(one.id for one in _first_to_leave(observation.staying)[:-missing])))
    return [act for act in acts if not (isinstance(act, Drain) and not act.ids)]


def room(observation: Observation, limits: Limits) -> int:
    """The cap gate: how many machines may be launched now. Every launch passes it."""
    return max(0, limits.most - observation.machines)


def free_names(taken: Sequence[str], count: int) -> tuple[str, ...]:
    """The `count` lowest of app-tier-instance-1, -2, ... that are not taken."""
    used = set(taken)
    names = (f"{NAME}{number}" for number in range(1, len(used) + count + 1))
    return tuple(name for name in names if name not in used)[:count]


def _overdue(one: Instance, now: float, drain_seconds: float) -> bool:
    return one.state == "stopped" or (
        one.drain_since is not None and one.state == "running" and now - one.drain_since > drain_seconds
    )


def _first_to_leave(staying: Sequence[Instance]) -> list[Instance]:
    """The youngest first: one that still boots holds no work, and the oldest has the warmest caches."""
    return sorted(staying, key=lambda one: (one.state == "pending", one.launched_at, one.id), reverse=True)
