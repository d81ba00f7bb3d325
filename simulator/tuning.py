"""Tries settings of the controller on a scenario: what each costs, and which nothing beats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

from simulator.figures import ScalerFigures
from simulator.run import Scenario, Unfinished, run

POLICIES = ("deadline", "backlog_per_instance")
MINIMUMS = (0, 1, 2)
QUIETS = (10.0, 60.0, 300.0)  # seconds; the time of a boot is tried besides
WINDOWS = (10.0, 60.0)
WANTED = 0.99  # of the photos in the target
NEAR = 0.02  # figures that differ by less are the same


@dataclass(frozen=True, slots=True)
class Candidate:
    """Settings to try. quiet, window: in seconds."""

    policy: str
    least: int
    quiet: float
    window: float

    def variables(self) -> dict[str, str]:
        """The settings to copy."""
        return {
            "SHOAL_POLICY": self.policy,
            "SHOAL_MIN_INSTANCES": str(self.least),
            "SHOAL_QUIET_SECONDS": f"{self.quiet:g}",
            "SHOAL_WINDOW_SECONDS": f"{self.window:g}",
        }


@dataclass(frozen=True, slots=True)
class Tried:
    """A candidate, and what came of it."""

    candidate: Candidate
    figures: ScalerFigures


def candidates(policies: Sequence[str], boot: float, most: int) -> list[Candidate]:
    """What is tried. boot: seconds that a launch takes. most: instances that are never exceeded."""
    minimums = [one for one in MINIMUMS if one <= most]
    quiets = sorted({*QUIETS, round(boot)})
    return [Candidate(*one) for one in product(policies, minimums, quiets, WINDOWS)]


def tune(asked: Sequence[Candidate], scenario: Scenario, tell: Callable[[int], None]) -> list[Tried]:
    """Simulate each, and leave out those that do not label every photo. tell: called with the number that is done."""
    tried = []
    for number, one in enumerate(asked):
        tell(number)
        limits = replace(scenario.terms.limits, least=one.least, quiet_seconds=one.quiet, window_seconds=one.window)
        try:
            ran = run(one.policy, replace(scenario, terms=replace(scenario.terms, limits=limits)))
        except Unfinished:
            continue
        tried.append(Tried(one, ran.figures))
    return tried


def frontier(tried: Sequence[Tried]) -> list[Tried]:
    """Those that no other beats, the cheapest first; of several that are the same, the first that was tried.

    One beats another when it is not dearer and not later (p95), and in one of both better by more than 2 %.
    """
    kept: list[Tried] = []
    for one in sorted(tried, key=lambda each: (each.figures.cost, each.figures.wait_p95)):
        if all(one.figures.wait_p95 < (1 - NEAR) * other.figures.wait_p95 for other in kept):
            kept.append(one)
    return kept


def best(tried: Sequence[Tried]) -> Tried | None:
    """The cheapest that labels 99 % in the target; None when none does."""
    met = [one for one in tried if one.figures.within >= WANTED]
    return min(met, key=lambda one: one.figures.cost, default=None)
