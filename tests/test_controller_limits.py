"""The rules that hold whatever the policy: limits, quiet times, and work that is never left without a worker."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.policies import per_message
from controller.policy import Decision, Limits, Need, Terms, clamp, decide, hold_work, recent, stabilise
from shoal.ports import Beat, Depth
from tests.controller_fixtures import NOW, with_workers


def test_work_is_never_left_without_a_worker() -> None:
    none = Decision(0, "r")
    assert hold_work(none, with_workers(0, Depth(1, 0, 0))) == Decision(1, "r; 1 for 0 in work, 1 in all")
    assert hold_work(none, with_workers(0, Depth(9, 0, 0))).desired == 1
    assert hold_work(none, with_workers(0, Depth(0, 33, 0))).desired == 2
    assert hold_work(none, with_workers(0, Depth(9, 32, 0))).desired == 1
    assert hold_work(none, with_workers(0, Depth(0, 0, 0))) == none
    assert hold_work(Decision(2, "r"), with_workers(0, Depth(0, 33, 0))) == Decision(2, "r")


def test_those_who_are_too_many_in_a_held_pool_finish_their_photos_and_leave() -> None:
    observation = with_workers(3, Depth(900, 96, 0))
    holding = {name: replace(one, beat=Beat(1, 0, 32)) for name, one in observation.sightings.items()}
    full = replace(observation, sightings=holding)
    assert hold_work(Decision(1, "r"), full).desired == 3
    assert hold_work(Decision(1, "r", held=True), full) == Decision(1, "r", held=True)
    # What no worker tells of is held by somebody.
    assert hold_work(Decision(1, "r", held=True), replace(full, depth=Depth(900, 96 + 33, 0))).desired == 2
    assert hold_work(Decision(0, "r", held=True), replace(full, depth=Depth(1, 96, 0))).desired == 1


def test_limits_are_said() -> None:
    bounds = Limits(2, 15, 10.0)
    assert clamp(Decision(16, "r"), bounds) == Decision(15, "r; cap 15")
    assert clamp(Decision(15, "r"), bounds) == Decision(15, "r")
    assert clamp(Decision(1, "r"), bounds) == Decision(2, "r; at least 2")
    assert clamp(Decision(2, "r"), bounds) == Decision(2, "r")


def test_a_zero_must_last_for_the_whole_quiet_time() -> None:
    told = Terms(Limits(0, 15, 10.0, 2.0))
    observation = with_workers(15, Depth(0, 0, 0))

    def desired(*history: Need) -> Decision:
        return decide(per_message.policy, observation, history, told)[0]

    assert desired().reason == "one each: need 0; keep 15 until watched for 10 s (10 s more)"
    assert desired(Need(NOW - 9, 0)).desired == 15
    assert desired(Need(NOW - 9.5, 0)).reason.endswith("(1 s more)")
    assert desired(Need(NOW - 12, 0), Need(NOW - 5, 0)).desired == 0
    assert desired(Need(NOW - 10, 0)).desired == 0
    assert desired(Need(NOW - 12, 0), Need(NOW - 9, 1)).desired == 1
    assert desired(Need(NOW - 12, 0), Need(NOW - 9, 99)).desired == 15


def test_where_a_boot_is_longer_than_the_target_the_last_worker_and_what_recent_bursts_needed_stay() -> None:
    told = Terms(Limits(0, 15, 4.0, 2.0), target_seconds=9.0)  # a boot takes 10 s here
    history = (Need(NOW - 30, 0), Need(NOW - 20, 1), Need(NOW - 8, 0))
    burst = (Need(NOW - 60, 0), Need(NOW - 30, 8), Need(NOW - 20, 0))

    def kept(workers: int, needs: tuple[Need, ...], terms: Terms = told) -> Decision:
        return decide(per_message.policy, with_workers(workers, Depth(0, 0, 0)), needs, terms)[0]

    assert kept(7, history) == Decision(
        1, "one each: need 0; keep 1: a boot of 10 s is longer than the target, so the last stays for a while"
    )
    why = "a boot of 10 s is longer than the target, so 1.5 times the mean need of the last 40 s stay"
    assert kept(8, burst) == Decision(3, f"one each: need 0; keep 3: {why}")
    assert kept(2, burst).desired == 2  # nothing is launched for it
    assert kept(8, burst, replace(told, target_seconds=10.0)).desired == 0
    busy = decide(per_message.policy, with_workers(8, Depth(2, 0, 0)), burst, told)[0]
    assert busy == Decision(3, f"one each: need 2; keep 3: {why}")
    assert kept(0, history).desired == 0  # nothing is launched for it
    assert kept(7, history, replace(told, target_seconds=10.0)).desired == 0
    assert kept(1, (Need(NOW - 14, 1), Need(NOW - 10.1, 0))).desired == 0
    assert kept(1, (Need(NOW - 14, 1), Need(NOW - 9, 0))).desired == 1


def test_less_than_all_leaves_after_the_window() -> None:
    told = Terms(Limits(0, 15, 60.0, 10.0))
    observation = with_workers(15, Depth(1, 0, 0))
    history = (Need(NOW - 40, 15), Need(NOW - 11, 3), Need(NOW - 8, 7), Need(NOW - 2, 1))
    decision, _ = decide(per_message.policy, observation, history, told)
    assert decision == Decision(7, "one each: need 1; keep 7: needed within the last 10 s")
    assert decide(per_message.policy, observation, history[:2], told)[0].desired == 3


def test_near_enough_is_left_alone() -> None:
    bounds = Limits(0, 200, 0.0, 0.0, tolerance=0.05)
    past = (Need(NOW - 1, 0), Need(NOW, 0))

    def held(desired: int, workers: int = 100) -> Decision:
        return stabilise(Decision(desired, "r"), past, with_workers(workers, Depth(1, 0, 0)), bounds)

    assert held(96) == Decision(100, "r; keep 100: near enough")
    assert held(95).desired == 95
    assert held(101).desired == 101  # work that waits is never near enough
    assert held(100) == Decision(100, "r")
    assert held(0, workers=1).desired == 0


def test_a_lowered_cap_is_honoured_at_once() -> None:
    told = Terms(Limits(0, 5, 10.0))
    assert decide(per_message.policy, with_workers(15, Depth(50, 0, 0)), (), told)[0].desired == 5


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 2), (4.0, 2), (5.0, 3), (12.0, 4), (30.0, 5), (99.0, 5)])
def test_recent_keeps_what_covers_the_beginning(seconds: float, expected: int) -> None:
    history = tuple(Need(NOW - age, age) for age in (30, 20, 10, 5, 0))
    assert recent(reversed(history), NOW, seconds) == history[-expected:]
    assert recent((), NOW, seconds) == ()


@pytest.mark.parametrize(("quiet", "window"), [(10.0, 4.0), (4.0, 10.0)])
def test_the_needs_of_the_longer_window_are_remembered(quiet: float, window: float) -> None:
    history = tuple(Need(NOW - age, age) for age in (30, 20, 9, 5))
    told = Terms(Limits(0, 9, quiet, window))
    assert decide(per_message.policy, with_workers(0, Depth(0, 0, 0)), history, told)[1] == (*history[1:], Need(NOW, 0))
