"""KEDA's AWS SQS scaler and the autoscaler of Kubernetes behind it.

Source: the KEDA documentation, "ScaledObject specification" and "AWS SQS Queue", and the Kubernetes documentation,
"Horizontal Pod Autoscaling". KEDA polls every 30 s and takes the pool from 0 to 1 when messages are there; messages in
flight count (scaleOnInFlight). From 1 on the autoscaler computes ceil(messages / queueLength) every 15 s. It leaves a
size alone that is within a tenth of it. Up it adds at most 4 or the present size in 15 s. Down it takes the largest
size that was computed within 300 s. KEDA takes the pool to 0 when no message was seen for 300 s (cooldownPeriod). A pod
gets SIGTERM and may finish, so the machines drain. queueLength is set to what a worker does within the target.
"""

from __future__ import annotations

import math
from collections import deque

from simulator.scalers import Conditions, Scaler
from simulator.scalers._pool import Group
from simulator.world import World

POLL_SECONDS = 30.0
COOLDOWN_SECONDS = 300.0
SYNC_SECONDS = 15.0
WINDOW_SECONDS = 300.0
TOLERANCE = 0.1
LEAST_GROWTH = 4


class Keda:
    """The two loops."""

    def __init__(self, world: World, group: Group, queue_length: float) -> None:
        self._world = world
        self._group = group
        self._queue_length = queue_length
        self._next_poll = self._next_sync = 0.0
        self._active_at = -COOLDOWN_SECONDS
        self._messages = 0
        self._computed: deque[tuple[float, int]] = deque()

    def tick(self) -> None:
        """Run the loops that are due."""
        now = self._world.now
        if now >= self._next_poll:
            self._next_poll = now + POLL_SECONDS
            self._poll(now)
        if now >= self._next_sync:
            self._next_sync = now + SYNC_SECONDS
            if size := len(self._group.staying):
                self._sync(now, size)

    def _poll(self, now: float) -> None:
        self._messages = self._world.visible + self._world.in_flight
        if self._messages:
            self._active_at = now
            if not self._group.staying:
                self._group.resize(1)
        elif now - self._active_at >= COOLDOWN_SECONDS:
            self._group.resize(0)

    def _sync(self, now: float, size: int) -> None:
        wanted = max(1, math.ceil(self._messages / self._queue_length))
        if abs(self._messages / self._queue_length / size - 1) <= TOLERANCE:
            wanted = size
        self._computed.append((now, wanted))
        while self._computed[0][0] < now - WINDOW_SECONDS:
            self._computed.popleft()
        if wanted > size:
            self._group.resize(min(wanted, size + max(LEAST_GROWTH, size)))
        else:
            self._group.resize(min(size, max(count for _, count in self._computed)))


def make(world: World, conditions: Conditions) -> Scaler:
    """Make the scaler of this file."""
    return Keda(world, Group(world, 0, conditions.terms.limits.most), conditions.photos_each)
