"""Buildkite's agent scaler, as its Elastic CI stack runs it.

Source: the README of buildkite-agent-scaler and the parameters of the Elastic CI stack. Every 10 s the desired size is
what the jobs need, jobs / jobs of an instance, and the size grows to it at once. Scale-in by the scaler is off
(DISABLE_SCALE_IN), because a group ends instances in the middle of their jobs. An instance that had no job for 600 s
(ScaleInIdlePeriod) leaves by itself. A job of theirs takes minutes and ours a second: an instance counts for as many
photos as a worker does within the target.
"""

from __future__ import annotations

import math

from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.world import World

POLL_SECONDS = 10.0
IDLE_SECONDS = 600.0


class Buildkite:
    """Grows by the jobs; idle instances leave."""

    def __init__(self, world: World, group: Group, jobs_each: float) -> None:
        self._world = world
        self._group = group
        self._jobs_each = jobs_each
        self._next = 0.0
        self._finished: dict[str, tuple[int, float]] = {}  # machine -> photos finished, and since when

    def tick(self) -> None:
        """Every 10 s, grow, and let idle instances leave."""
        now = self._world.now
        if now < self._next:
            return
        self._next = now + POLL_SECONDS
        wanted = math.ceil((self._world.visible + self._world.in_flight) / self._jobs_each)
        self._group.resize(max(wanted, len(self._group.staying)))
        self._world.drain(self._idle(now))

    def _idle(self, now: float) -> list[str]:
        before, self._finished = self._finished, {}
        for one in self._group.staying:
            count, since = before.get(one.id, (-1, now))
            busy = one.finished != count or one.in_progress or not one.ready
            self._finished[one.id] = (one.finished, now if busy else since)
        return [name for name, (_, since) in self._finished.items() if now - since >= IDLE_SECONDS]


def make(world: World, conditions: Conditions) -> Scaler:
    """Make the scaler of this file."""
    return Buildkite(world, Group(world, 0, conditions.terms.limits.most), conditions.photos_each)
