"""AWS target tracking on the backlog per instance.

Source: the Amazon EC2 Auto Scaling user guide, "Scaling policy based on Amazon SQS" and "Target tracking scaling
policies". The metric is ApproximateNumberOfMessages (visible ones alone) / instances in service, once a minute. Auto
Scaling makes two alarms. The high one fires when the metric was above the target for 3 minutes; the new size is
ceil(size x metric / target). The low one fires when it was a tenth below the target for 15 minutes, and the size falls
by the same rule. After a change, 300 s (the default cooldown) pass before the next. A group of size 0 has no such
metric, so the pool keeps at least 1. A smaller size ends instances at once: the group does not know which are busy.
"""

from __future__ import annotations

import math
from collections import deque

from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.world import World

PERIOD_SECONDS = 60.0
HIGH_MINUTES = 3
LOW_MINUTES = 15
LOW_SHARE = 0.9
COOLDOWN_SECONDS = 300.0


class TargetTracking:
    """Two alarms and a cooldown."""

    def __init__(self, world: World, group: Group, target: float) -> None:
        self._world = world
        self._group = group
        self._target = target
        self._metric: deque[float] = deque(maxlen=LOW_MINUTES)
        self._next = PERIOD_SECONDS
        self._cool_at = 0.0
        self.least = 1

    def tick(self) -> None:
        """Once a minute, look at the metric and at the alarms."""
        now = self._world.now
        size = self._group.resize(max(self.least, len(self._group.staying)))
        if now < self._next:
            return
        self._next = now + PERIOD_SECONDS
        self._metric.append(self._world.visible / max(1, self._group.in_service))
        if now < self._cool_at:
            return
        wanted = self._wanted(size)
        if wanted != size:
            self._group.resize(max(self.least, wanted))
            self._cool_at = now + COOLDOWN_SECONDS

    def _wanted(self, size: int) -> int:
        recent = list(self._metric)[-HIGH_MINUTES:]
        if len(recent) == HIGH_MINUTES and min(recent) > self._target:
            return max(size, math.ceil(self._group.in_service * recent[-1] / self._target))
        if len(self._metric) == LOW_MINUTES and max(self._metric) < LOW_SHARE * self._target:
            return min(size, math.ceil(size * self._metric[-1] / self._target))
        return size


def make(world: World, conditions: Conditions) -> Scaler:
    """Make the scaler of this file."""
    group = Group(world, 1, conditions.terms.limits.most, kills=True)
    return TargetTracking(world, group, conditions.photos_each)
