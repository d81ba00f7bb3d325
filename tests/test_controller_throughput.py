"""How the rate of a pool grows with its workers: what is measured, and what the policy is told of it. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.estimates import Spread
from controller.policies import deadline
from controller.policy import Decision, Limits, Measured, Observation, Terms
from controller.throughput import KEPT_RATES, LONGEST_RETRY_SECONDS, RETRY_SECONDS, Bound, Throughput
from shoal.ledger import PoolRate
from shoal.ports import Depth
from tests.controller_fixtures import NOW, with_workers
from tests.test_controller_policies import observations, terms

SHARED = "another would not help, something is shared"


def worked(
    known: Throughput, workers: int, per_second: float, begin: float = 0.0, seconds: int = 12, backlog: int = 1000
) -> Throughput:
    """After `seconds` in which so many workers did so much, looked at each second."""
    for second in range(seconds):
        share = (int(per_second * (second + 1)) - int(per_second * second), float(workers))
        known = known.look(NOW + begin + second, workers, True, backlog, *share)
    return known


def known(*rates: tuple[int, float], at: float = 0.0) -> Throughput:
    return Throughput(0.1, rates=tuple(PoolRate(workers, rate, NOW + at, 1000) for workers, rate in rates))


# measuring


def test_a_rate_counts_after_the_pool_has_settled_and_was_watched_for_some_seconds() -> None:
    assert worked(Throughput(), 2, 14.0, seconds=9).rates == ()
    settled = worked(Throughput(), 2, 14.0)
    assert settled.rates == (replace(settled.rates[0], workers=2, at=NOW + 11, backlog=1000),)
    assert settled.rates[0].per_second == pytest.approx(14.0, rel=0.1)
    assert [rate.workers for rate in worked(settled, 3, 14.0, begin=20).rates] == [2, 3]
    # Each worker must have finished a photo or two.
    assert worked(Throughput(), 4, 0.5, seconds=19).rates == ()
    assert worked(Throughput(), 4, 0.5, seconds=30).rates[0].per_second == pytest.approx(0.5, rel=0.2)


def test_workers_that_have_less_than_they_can_do_tell_nothing() -> None:
    idle = Throughput()
    for second in range(30):
        idle = idle.look(NOW + second, 2, second % 5 != 0, 9, 3, 2.0)
    assert idle.rates == ()
    changing = Throughput()
    for second in range(30):
        changing = changing.look(NOW + second, 1 + second % 2, True, 9, 3, 2.0)
    assert changing.rates == ()
    assert Throughput().look(NOW, 0, True, 9, 0, 0.0).rates == ()


def test_of_many_workers_some_may_come_and_go() -> None:
    many = Throughput()
    for second in range(12):
        many = many.look(NOW + second, 40 + second % 3, True, 9000, 40, 40.0)
    assert [rate.workers for rate in many.rates] == [40]
    assert [rate.workers for rate in worked(many, 48, 48.0, begin=20, seconds=20).rates] == [40, 48]
    assert [rate.workers for rate in worked(known((40, 40.0)), 42, 42.0, begin=20, seconds=20).rates] == [
        42
    ]  # in place of 40


def test_the_newest_rate_counts_most() -> None:
    steady = worked(Throughput(), 1, 10.0, seconds=40)
    assert steady.busy < 30
    slower = worked(steady, 1, 5.0, begin=40, seconds=90)
    assert slower.rates[0].per_second == pytest.approx(5.0, rel=0.1)


def test_when_photos_become_heavier_all_numbers_of_workers_do_less() -> None:
    before = worked(known((1, 10.0), (2, 14.0), (3, 14.0)), 2, 14.0, begin=20, seconds=30)
    after = worked(before, 2, 7.0, begin=50, seconds=120)
    assert [rate.per_second for rate in after.rates] == pytest.approx([5.0, 7.0, 7.0], rel=0.1)
    assert after.alone() == pytest.approx(0.2, rel=0.1)


def test_few_rates_are_kept() -> None:
    many = Throughput()
    for number in range(12):
        many = worked(many, 2**number, 2.0**number * 3, begin=100.0 * number)
    assert [rate.workers for rate in many.rates] == [2**number for number in range(12 - KEPT_RATES, 12)]


def test_a_worker_alone() -> None:
    assert Throughput(0.5).alone() == 0.5
    assert known((1, 5.0), (2, 5.0)).alone() == 0.2
    assert known((4, 100.0)).alone() == pytest.approx(0.04)
    assert known((4, 10.0)).alone() == 0.1  # they may share something
    assert known((1, 5.0)).anew(NOW) == Throughput(0.2, since_ceiling=NOW)


def test_the_service_time_of_too_many_workers_is_not_planned_with() -> None:
    assert Throughput().planned_seconds(3.0) == 3.0
    assert known((1, 10.0)).planned_seconds(0.11) == 0.11
    assert known((1, 10.0), (9, 10.0)).planned_seconds(0.9) == pytest.approx(0.125)


def test_what_is_known() -> None:
    assert all(replace(known(), working=count).is_known for count in (0, 1))
    assert not replace(known(), working=2).is_known
    assert [replace(known((10, 9.0)), working=count).is_known for count in (9, 11, 12)] == [True, True, False]


# what it means


def test_nothing_speaks_against_workers_that_share_nothing() -> None:
    assert Throughput().bound(NOW, 1000) is None
    assert known((1, 10.0)).bound(NOW, 1000) is None
    assert known((1, 10.0), (2, 20.0)).bound(NOW, 1000) is None
    assert known((1, 10.0), (2, 17.0)).bound(NOW, 1000) is None
    assert known((9, 80.0), (18, 170.0)).bound(NOW, 1000) is None


def test_a_pool_that_does_not_grow_in_rate_is_held_at_the_fewest_that_are_nearly_the_best() -> None:
    pool = known((1, 9.0), (2, 14.0), (3, 14.2))
    assert replace(pool, working=3).bound(NOW, 1000) == Bound(2, f"3 workers do 14.2 photos/s, 2 did 14: {SHARED}")
    assert replace(pool, working=2).bound(NOW, 1000) == Bound(2, f"3 workers did 14.2 photos/s, 2 did 14: {SHARED}")
    assert known((1, 14.0), (9, 12.0)).bound(NOW, 1000) == Bound(1, f"9 workers did 12 photos/s, 1 did 14: {SHARED}")


def test_a_held_pool_tries_again_after_a_time_or_for_a_much_larger_backlog() -> None:
    pool = known((1, 14.0), (2, 14.0))
    assert pool.bound(NOW + RETRY_SECONDS - 1, 3999) == Bound(1, f"2 workers did 14 photos/s, 1 did 14: {SHARED}")
    again = Bound(2, "2 workers did 14 photos/s, 1 did 14: trying again")
    assert pool.bound(NOW + RETRY_SECONDS, 1000) == again
    assert pool.bound(NOW + 1, 4000) == again
    assert known((6, 14.0), (20, 14.0)).bound(NOW + 1, 4000) == Bound(
        9, "20 workers did 14 photos/s, 6 did 14: trying again"
    )


def test_each_try_that_does_not_help_makes_the_next_wait_longer() -> None:
    pool, begin = known((1, 14.0), (2, 14.0)), 0.0
    waits = []
    for _ in range(6):
        begin += pool.retry_seconds
        waits.append(pool.retry_seconds)
        pool = worked(pool, 2, 14.0, begin=begin)
        pool = worked(pool, 1, 14.0, begin=begin + 20)
        begin += 11
    assert waits == [min(RETRY_SECONDS * 2**number, LONGEST_RETRY_SECONDS) for number in range(6)]
    better = worked(known((1, 14.0), (2, 14.0)), 2, 28.0, begin=RETRY_SECONDS)
    assert better.retry_seconds == RETRY_SECONDS
    assert better.bound(NOW + RETRY_SECONDS, 1000) is None
    rested = worked(known((1, 14.0), (2, 14.0)), 1, 14.0, begin=9 * RETRY_SECONDS)
    assert rested.retry_seconds == RETRY_SECONDS


def test_a_pool_that_grows_less_than_its_workers_grows_by_trials() -> None:
    assert replace(known((1, 10.0), (2, 14.0)), working=2).bound(NOW, 1000) == Bound(
        3, "2 workers do 14 photos/s, 20 if they shared nothing: trying more step by step"
    )
    # What one was expected to do stands for one that was not measured.
    assert known((9, 40.0)).bound(NOW, 1000) == Bound(
        14, "9 workers did 40 photos/s, 90 if they shared nothing: trying more step by step"
    )
    assert known((9, 90.0)).bound(NOW, 1000) is None


def test_workers_of_one_machine_begin_with_one_and_grow_by_trials() -> None:
    machine = Throughput(0.04, 25.0, NOW)
    assert machine.bound(NOW, 1000) == Bound(1, "all together are expected to do 25 photos/s")
    full = replace(machine, rates=known((1, 23.0)).rates, working=1)
    expected = "1 worker does 23 photos/s, and all together are expected to do 25"
    assert full.bound(NOW, 1000) == Bound(1, f"{expected}: another would not help")
    assert full.bound(NOW + RETRY_SECONDS, 1000) == Bound(2, f"{expected}: trying more step by step")
    half = replace(machine, rates=known((1, 12.0)).rates)
    assert half.bound(NOW, 1000) == Bound(
        2, "1 worker did 12 photos/s, and all together are expected to do 25: trying more step by step"
    )
    assert replace(half, rates=known((1, 12.0), (2, 18.0)).rates).bound(NOW, 1000) == Bound(
        3, "2 workers did 18 photos/s, and all together are expected to do 25: trying more step by step"
    )
    assert replace(half, rates=known((1, 12.0), (2, 12.5)).rates).bound(NOW, 1000) == Bound(
        1, f"2 workers did 12.5 photos/s, 1 did 12: {SHARED}"
    )


# what the policy makes of it

rates = st.lists(
    st.builds(PoolRate, st.integers(1, 30), st.floats(0.1, 100), st.floats(NOW - 500, NOW), st.integers(1, 10_000)),
    max_size=4, unique_by=lambda one: one.workers,
).map(lambda some: tuple(sorted(some, key=lambda one: one.workers)))  # fmt: skip
throughputs = st.builds(
    Throughput,
    st.floats(0.01, 10),
    st.sampled_from([0.0, 0.0, 9.0]),
    st.just(NOW - 9),
    rates,
    working=st.integers(0, 30),
)


@settings(max_examples=60)
@given(observations(), throughputs, terms, st.integers(1, 20_000))
def test_whatever_is_shared_more_backlog_never_asks_for_fewer(
    observation: Observation, throughput: Throughput, told: Terms, more: int
) -> None:
    observation = replace(observation, measured=replace(observation.measured, throughput=throughput))
    depth = observation.depth
    fuller = replace(observation, depth=replace(depth, visible=depth.visible + more))
    assert deadline.policy(fuller, told).desired >= deadline.policy(observation, told).desired


def test_workers_that_share_something_are_held() -> None:
    """The service time has risen with each of them, and asks for more."""
    rates = (PoolRate(2, 14.0, NOW - 20, 900), PoolRate(3, 14.1, NOW, 800))
    shared = Throughput(0.1, rates=rates, working=3)

    def need(backlog: int, throughput: Throughput) -> Decision:
        measured = Measured(Spread.guess(0.2), Spread.guess(2.0), throughput=throughput)
        observation = replace(with_workers(3, Depth(backlog, 0, 0)), measured=measured)
        return deadline.policy(observation, Terms(Limits(0, 100, 10.0)))

    assert need(500, shared).reason == "0.18 s each, target 60 s: need 2"  # which are in time
    held = need(2000, shared)
    assert (held.desired, held.held) == (2, True)
    assert held.reason == (
        "0.18 s each, a launch takes 2 s, target 60 s: need 7; 3 workers do 14.1 photos/s, 2 did 14: "
        "another would not help, something is shared: 2"
    )
    # As long as it is not known what they do, they do not ask for others because they are late.
    unknown = replace(shared, rates=())
    assert need(1500, unknown).desired == 3
    assert need(2000, unknown).desired == 4  # at a tenth of a second each
