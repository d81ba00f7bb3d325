"""The default policy on the whole controller, with workers that boot and work by a manual clock: how few it takes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet import FleetWorld
from controller.policies.deadline import policy as deadline
from controller.policy import Decision, Limits, Observation, Policy, Terms

CAP = 40


def fixed(count: int) -> Policy:
    """A pool of that size as long as there is work: what the default is held against."""

    def policy(observation: Observation, terms: Terms) -> Decision:
        return Decision(count if observation.depth.total else 0, "fixed")

    return policy


def answer(
    folder: Path, policy: Policy, photos: int, service: float, boot: float, target: float
) -> tuple[int, int, list[str]]:
    """Photos that come at once: seconds until the last is answered, most instances, what the ledger said of them."""
    world = FleetWorld(folder, policy, Limits(0, CAP, 10.0), service, boot)
    world.use(terms=replace(world.rules.terms, target_seconds=target))
    world.send(photos)
    seconds, most, said = 0, 0, []
    while world.fleet.finished < photos:
        assert seconds < 3 * target, "the work does not end"
        entry = world.tick()
        assert entry is not None
        said.append(entry.sentence())
        seconds, most = seconds + 1, max(most, len(world.machines))
    assert not world.fleet.killed_busy
    return seconds, most, said


@pytest.mark.parametrize(
    ("photos", "service", "boot", "target"),
    [
        (10, 0.2, 4, 60),
        (500, 0.2, 4, 60),
        (2_000, 0.2, 4, 60),
        (5_000, 0.2, 4, 60),
        (1_000, 0.2, 30, 60),
        (100, 1, 30, 60),
        (500, 1, 30, 120),
        (50, 9, 30, 120),
        (412, 9, 30, 600),
    ],
)
def test_all_are_in_time_with_the_fewest_workers(
    tmp_path: Path, photos: int, service: float, boot: float, target: float
) -> None:
    """At most one more than the smallest pool, held from the first photo to the last, that is in time as well."""
    work = (photos, service, boot, target)
    seconds, most, said = answer(tmp_path / "deadline", deadline, *work)
    assert seconds <= target
    assert f"target {target:g} s: need {most}" in " ".join(said), "the ledger says why"
    if most > 2:
        assert answer(tmp_path / "fewer", fixed(most - 2), *work)[0] > target
