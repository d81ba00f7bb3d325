"""What changes the size of the pool: our controller with any policy, and models of what people would use instead.

Each file here whose name does not begin with "_" is one; `make` makes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from controller.policy import Terms
from simulator.cloud_view import CountFaults
from simulator.world import World


class Scaler(Protocol):
    """Changes the pool of a world."""

    def tick(self) -> None:
        """Look and act. Called every `tick_seconds`, after the world has advanced."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a scaler knows of its world before it begins.

    terms:           limits, target and the parameters of the policies.
    service_seconds, boot_seconds: the means, as measured before.
    counts:          how wrong the counts of the queue are.
    seed:            of the scaler's dice.
    """

    terms: Terms
    service_seconds: float
    boot_seconds: float
    counts: CountFaults = field(default_factory=CountFaults)
    seed: int = 1

    @property
    def photos_each(self) -> float:
        """How many photos a worker does within the target: the "acceptable backlog" of AWS' guide, at least 1."""
        return max(1.0, self.terms.target_seconds / self.service_seconds)


class MakeScaler(Protocol):
    """Makes a scaler for a world."""

    def __call__(self, world: World, conditions: Conditions) -> Scaler: ...
