"""AWS predictive scaling in spirit: a forecast for each hour sets the least size, and target tracking adds to it.

Source: the Amazon EC2 Auto Scaling user guide, "Predictive scaling": it forecasts each hour's load from the history,
launches before the hour begins (SchedulingBufferTime, here the boot time), and never scales in by itself, so another
policy must. Here the forecast is as good as a forecast of hourly means can be: the hour's own mean.
"""

from __future__ import annotations

import math
from bisect import bisect_left

from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.scalers.target_tracking import TargetTracking
from simulator.world import World

HOUR_SECONDS = 3600.0
SHARE = 0.8  # of their speed that the machines of the forecast work at


class Predictive:
    """Target tracking whose least size follows the forecast."""

    def __init__(self, world: World, tracking: TargetTracking, conditions: Conditions) -> None:
        self._world = world
        self._tracking = tracking
        self._conditions = conditions

    def tick(self) -> None:
        """Set the least size for the hour of the time at which a machine launched now can work."""
        ahead = self._world.now + self._conditions.boot_seconds
        hours = {self._world.now // HOUR_SECONDS, ahead // HOUR_SECONDS}
        self._tracking.least = max(1, *(self._needed(hour * HOUR_SECONDS) for hour in hours))
        self._tracking.tick()

    def _needed(self, begin: float) -> int:
        arrivals = self._world.arrivals
        photos = bisect_left(arrivals, begin + HOUR_SECONDS) - bisect_left(arrivals, begin)
        return math.ceil(photos * self._conditions.service_seconds / HOUR_SECONDS / SHARE)


def make(world: World, conditions: Conditions) -> Scaler:
    """Make the scaler of this file."""
    group = Group(world, 1, conditions.terms.limits.most, kills=True)
    return Predictive(world, TargetTracking(world, group, conditions.photos_each), conditions)
