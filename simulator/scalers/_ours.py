"""Our controller: the real reconciler, on the world."""

from __future__ import annotations

from controller.estimates import Spread
from controller.experience import Experience
from controller.intents import Intents
from controller.lease import Hold
from controller.ledger import Tick
from controller.policy import Policy
from controller.reconciler import Reconciler
from controller.rules import Rules
from controller.throughput import Throughput
from shoal.memory import ManualClock
from shoal.settings import Settings
from simulator.cloud_view import cloud_of
from simulator.scalers import Conditions
from simulator.world import World

LEASE_SECONDS = 10.0
LAUNCH_SECONDS = 30.0
PATIENCE = Rules.of(Settings()).patience  # with AWS' late counts


class NoLedger:
    """A ledger that keeps nothing."""

    def record(self, tick: Tick) -> str:  # noqa: ARG002 - the ledger's signature
        """No sentence: nobody reads it."""
        return ""


class OurController:
    """The reconciler with one of our policies. It begins with the measured times, as a controller that starts again."""

    def __init__(self, world: World, conditions: Conditions, policy: Policy) -> None:
        self._world = world
        self._clock = ManualClock()
        self._start = self._clock.now()
        clock = self._clock
        cloud = cloud_of(world, clock, conditions.counts, conditions.seed)
        hold = Hold(cloud.lease, "simulator", LEASE_SECONDS, clock.now)
        experience = Experience(
            service=Spread.guess(conditions.service_seconds),
            boot=Spread.guess(conditions.boot_seconds),
            throughput=Throughput(conditions.service_seconds),
        )
        self._reconciler = Reconciler(
            cloud,
            Rules(policy, conditions.terms, PATIENCE),
            NoLedger(),
            hold,
            Intents(hold, LAUNCH_SECONDS),
            clock,
            clock.now,
            experience,
        )

    def tick(self) -> None:
        """One tick of the controller."""
        self._clock.wait(self._start + self._world.now - self._clock.now())
        self._reconciler.tick()
