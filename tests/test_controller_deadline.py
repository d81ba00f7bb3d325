"""The default policy on the whole controller, with workers that boot and work by a manual clock: how few it takes."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from benchmarks.fleet import FleetWorld
from controller.estimates import Spread
from controller.policies.deadline import policy as deadline
from controller.policy import Decision, Limits, Observation, Policy, Terms
from controller.throughput import BEST_SHARE, RETRY_SECONDS, Throughput
from shoal.ledger_file import read

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


# workers that share something


def expecting(world: FleetWorld, seconds: float, ceiling: float = 0.0) -> FleetWorld:
    """A world whose controller starts with these expectations."""
    throughput = Throughput(seconds, ceiling, world.clock.now())
    world.experience = replace(world.experience, service=Spread.guess(seconds), throughput=throughput)
    world.start()
    return world


@dataclass(frozen=True)
class Ended:
    """seconds: until the last photo was finished. most: instances at a time. first: the first decision."""

    seconds: int
    most: int
    first: int


def shared(photos: int, service: float, boot: float, expected: float, cap: float) -> Ended:
    """What becomes of photos that come at once, when all workers together do at most `cap` of them a second."""
    with tempfile.TemporaryDirectory() as folder:
        world = expecting(FleetWorld(Path(folder), deadline, Limits(0, 500, 10.0), service, boot), expected)
        world.fleet.most_per_second = cap
        world.send(photos)
        seconds, most, first = 0, 0, 0
        while world.fleet.finished < photos:
            tick = world.tick()
            assert tick is not None
            first = first or tick.decision.desired
            seconds, most = seconds + 1, max(most, len(world.machines))
            assert seconds < 5000, "the work does not end"
        assert not world.fleet.killed_busy
        return Ended(seconds, most, first)


@settings(max_examples=10, phases=(Phase.explicit, Phase.generate))
@given(
    service=st.sampled_from([0.1, 1.0, 5.0]),
    workers=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0]),
    minutes=st.floats(0.5, 4),
    boot=st.sampled_from([2.0, 10.0, 30.0]),
    belief=st.sampled_from([0.2, 1.0, 1.0, 3.0]),
)
@example(service=0.1, workers=1.0, minutes=4, boot=2.0, belief=1.0)
@example(service=5.0, workers=3.0, minutes=4, boot=2.0, belief=1.0)
@example(service=1.0, workers=1.5, minutes=3, boot=10.0, belief=0.2)
def test_a_pool_that_shares_something_never_runs_away(
    service: float, workers: float, minutes: float, boot: float, belief: float
) -> None:
    """As much as `workers` alone is all that any number of workers can do.

    The policy launches twice as many, at most, as it launches where nothing is shared: it tries whether more of them
    help. That costs next to no time.
    """
    cap = workers / service
    photos = min(1000, max(10, int(minutes * 60 * cap)))
    capped = shared(photos, service, boot, service * belief, cap)
    free = shared(photos, service, boot, service * belief, math.inf)
    assert capped.most <= 2 * max(free.most, capped.first) + 1
    assert capped.seconds <= 1.2 * max(free.seconds, photos / cap + boot) + 10


@pytest.mark.parametrize(
    ("photos", "alone", "cap", "best"),
    [
        (500, 0.07, 14.0, 1),
        (5_000, 0.07, 14.0, 1),  # one worker does all that the machine can do
        (5_000, 0.06, 24.0, 2),
        (5_000, 0.1, 26.0, 3),
    ],
)
def test_on_one_machine_it_takes_the_fewest_workers_that_are_nearly_the_best(
    tmp_path: Path, photos: int, alone: float, cap: float, best: int
) -> None:
    """The engine by itself did 30 photos/s, which a whole system on the same cores does not reach."""
    world = expecting(FleetWorld(tmp_path, deadline, Limits(0, 15, 10.0), alone, 2.0), 1 / 30, 30.0)
    world.fleet.most_per_second = cap
    world.send(photos)
    sizes = []
    while world.fleet.finished < photos:
        world.tick()
        sizes.append(len(world.machines))
    assert max(sizes) <= max(3, math.ceil(1.5 * best))
    assert sizes[len(sizes) * 2 // 3] == best
    assert min(best / alone, cap) >= BEST_SHARE * min(cap, max(sizes) / alone)
    assert len([one for one in sizes[1:] if one]) == len(sizes) - 1


def test_a_held_pool_says_why_does_not_flap_and_grows_when_the_bottleneck_is_gone(tmp_path: Path) -> None:
    world = expecting(FleetWorld(tmp_path, deadline, Limits(0, 15, 10.0), 0.07, 2.0), 1 / 30, 30.0)
    world.fleet.most_per_second = 14.0
    world.send(20_000)
    world.tick(250)
    assert len(world.machines) == 1
    entries = list(read(world.ledger_path))
    assert "another would not help, something is shared: 1" in entries[-1].sentence
    assert sum(len(act.machines) for one in entries for act in one.done if act.kind == "launch") == 2
    assert [rate.workers for rate in entries[-1].rates] == [1, 2]

    # The next controller goes on with what this one knows.
    world.experience = replace(world.experience, throughput=replace(Throughput(0.07, 30.0), rates=entries[-1].rates))
    world.start()
    world.tick(20)
    assert len(world.machines) == 1

    world.fleet.most_per_second = math.inf
    sizes = []
    for _ in range(int(RETRY_SECONDS)):
        world.tick()
        sizes.append(len(world.machines))
    assert max(sizes) > 3


def test_workers_of_another_kind_are_measured_anew(tmp_path: Path) -> None:
    world = expecting(FleetWorld(tmp_path, deadline, Limits(0, 15, 10.0), 0.1, 2.0), 0.1)
    world.fleet.most_per_second = 10.0
    world.send(9_000)
    world.tick(60)
    tick = world.tick()
    assert tick is not None
    assert tick.observation.measured.throughput.rates
    world.controller.expect_other_workers()
    tick = world.tick()
    assert tick is not None
    assert not tick.observation.measured.throughput.rates
