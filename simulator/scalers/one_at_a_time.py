"""One machine more or less every 300 s: simple scaling with Auto Scaling's default cooldown.

Source: the Amazon EC2 Auto Scaling user guide, "Step and simple scaling policies": after an activity a simple policy
waits for the cooldown, 300 s by default. The size grows by 1 while the backlog of each machine is more than it does
within the target, and shrinks by 1 while one machine fewer would do. From 0 it grows as soon as a message waits.
"""

from __future__ import annotations

from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.world import World

COOLDOWN_SECONDS = 300.0


class OneAtATime:
    """Adds or takes away one."""

    def __init__(self, world: World, group: Group, photos_each: float) -> None:
        self._world = world
        self._group = group
        self._photos_each = photos_each
        self._cool_at = 0.0

    def tick(self) -> None:
        """Change the size by one, unless the last change is too recent."""
        now, size = self._world.now, len(self._group.staying)
        if now < self._cool_at:
            return
        messages = self._world.visible + self._world.in_flight
        if messages > size * self._photos_each or (messages and not size):
            after = self._group.resize(size + 1)
        elif size and messages <= (size - 1) * self._photos_each:
            after = self._group.resize(size - 1)
        else:
            return
        if after != size:
            self._cool_at = now + COOLDOWN_SECONDS


def make(world: World, conditions: Conditions) -> Scaler:
    """Make the scaler of this file."""
    return OneAtATime(world, Group(world, 0, conditions.terms.limits.most), conditions.photos_each)
