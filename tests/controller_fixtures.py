"""What a controller sees of a pool, for tests of what it makes of it."""

from __future__ import annotations

from controller.estimates import Spread
from controller.policy import Decision, Measured, Observation, Terms
from controller.sightings import Sighting
from shoal.ports import Beat, Depth, Instance

NOW = 1_700_000_000.0


def with_workers(count: int, depth: Depth) -> Observation:
    """`count` workers that have worked for a while, and a measured second a photo."""
    machines = tuple(Instance(f"i-{n}", f"app-tier-instance-{n + 1}", "running", NOW - 99) for n in range(count))
    seen = {one.id: Sighting(NOW - 99, beat=Beat(1)) for one in machines}
    measured = Measured(Spread.guess(1.0), Spread.guess(10.0))
    return Observation(NOW, depth, machines, sightings=seen, measured=measured)


def spare_policy(observation: Observation, terms: Terms, *, spare: int = 1) -> Decision:
    """A policy with an option of its own."""
    return Decision(observation.depth.total + spare, f"{spare} spare")
