"""A pool of fixed size: as many machines as the mean load needs at four fifths of their speed, day and night."""

from __future__ import annotations

import math

from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.world import World

SHARE = 0.8  # of their speed


class Fixed:
    """Keeps the size."""

    def __init__(self, group: Group, size: int) -> None:
        self._group = group
        self._size = size

    def tick(self) -> None:
        """Replace what the cloud took away."""
        self._group.resize(self._size)


def make(world: World, conditions: Conditions) -> Scaler:
    """Make the scaler of this file."""
    seconds = max(world.arrivals[-1], 1.0)
    size = math.ceil(len(world.arrivals) * conditions.service_seconds / seconds / SHARE)
    return Fixed(Group(world, 1, conditions.terms.limits.most), size)
