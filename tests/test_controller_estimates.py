"""What is measured: distributions that follow drift, the line and its ages, the budget. Pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.budget import PERIODS, Allowance, Budget, allowance
from controller.estimates import KEPT_POINTS, KEPT_SAMPLES, Flow, Point, Spread, Waiting
from shoal.ledger import Spent

NOW = 1_700_000_000.0


# spreads

seconds = st.floats(0.001, 1000)


@given(st.lists(seconds, min_size=1, max_size=100), st.floats(0, 1))
def test_a_quantile_is_one_of_the_measurements(values: list[float], share: float) -> None:
    spread = Spread.guess(1.0)
    for value in values:
        spread = spread.add(value)
    assert spread.quantile(share) in {1.0, *values}
    assert spread.quantile(0) <= spread.quantile(share) <= spread.quantile(1)
    assert len(spread.samples) <= KEPT_SAMPLES


def test_the_quantile_of_known_samples() -> None:
    spread = Spread(((3.0, 1.0), (1.0, 2.0), (2.0, 1.0)))
    assert [spread.quantile(share) for share in (0, 0.5, 0.51, 0.75, 0.76, 1)] == [1.0, 1.0, 2.0, 2.0, 3.0, 3.0]
    assert spread.quantile(1.5) == 3.0


def test_the_first_measurement_outweighs_the_guess() -> None:
    assert Spread.guess(30.0).quantile(0.9) == 30.0
    assert Spread.guess(30.0).add(2.0).quantile(0.9) == 2.0
    assert Spread.guess(0.1).add(2.0).quantile(0.75) == 2.0


def test_a_spread_follows_drift_and_stays_small() -> None:
    spread = Spread.guess(1.0)
    for _ in range(200):
        spread = spread.add(1.0)
    for _ in range(28):
        spread = spread.add(9.0)
    assert spread.quantile(0.5) == 9.0
    assert spread.quantile(0.2) == 1.0
    for _ in range(80):
        spread = spread.add(9.0)
    assert spread.quantile(0.01) == 9.0
    assert len(spread.samples) == KEPT_SAMPLES
    assert spread.samples[-2:] == ((9.0, 0.95), (9.0, 1.0))
    assert Spread.guess(1.0).add(5.0, 8.0).samples[-1] == (5.0, 8.0)


# the line


def walked(*looks: tuple[float, int, int]) -> Flow:
    flow = Flow()
    for at, backlog, finished in looks:
        flow = flow.seen(NOW + at, backlog, finished, 60.0)
    return flow


def test_nothing_waits_in_an_empty_line() -> None:
    assert Flow().waiting(NOW) == ()
    assert walked((0, 0, 0)).waiting(NOW) == ()


def test_ages_are_bounds_from_the_look_before() -> None:
    # Ten come between 1 and 2, five more between 2 and 3; three are finished by 4.
    flow = walked((0, 0, 0), (1, 0, 0), (2, 10, 0), (3, 15, 0), (4, 12, 3))
    assert flow.waiting(NOW + 4) == (Waiting(7, 3.0), Waiting(12, 2.0))
    assert flow.points[0] == Point(NOW + 1, 0, 0)  # what was seen before tells nothing any more
    assert walked((0, 5, 9), (1, 5, 0)).waiting(NOW + 1) == (Waiting(5, 1.0),)
    # All that waited is answered, others came.
    assert walked((0, 0, 0), (1, 10, 0), (2, 10, 10)).waiting(NOW + 2) == (Waiting(10, 1.0),)


def test_a_count_that_was_wrongly_zero_makes_the_line_look_younger() -> None:
    honest = walked((0, 0, 0), (1, 100, 0), (2, 100, 0), (3, 100, 0))
    assert honest.waiting(NOW + 3) == (Waiting(100, 3.0),)
    lied = walked((0, 0, 0), (1, 100, 0), (2, 0, 0), (3, 100, 0))
    assert lied.waiting(NOW + 3) == (Waiting(100, 1.0),)


def test_arrivals_are_averaged_over_the_memory() -> None:
    looks = [(float(second), 0, 5) for second in range(600)]
    assert walked(*looks).arrivals == pytest.approx(5.0, rel=0.01)
    burst = walked((0, 0, 0), (1, 600, 0))
    assert burst.arrivals == pytest.approx(600 * (1 - 2.718281828 ** (-1 / 60)), rel=0.01)
    # Fewer than before and none finished: a count that lied, no arrivals below zero.
    assert walked((0, 100, 0), (1, 0, 0)).arrivals == 0.0
    assert walked((0, 100, 0), (1, 99, 0), (2, 101, 0)).arrivals > 0
    # Twice at the same time: the later look counts.
    assert walked((0, 100, 0), (0, 50, 2)).points == (Point(NOW, 50, 2),)


def test_a_long_line_is_kept_small_and_never_too_young() -> None:
    flow = Flow()
    for second in range(5000):
        flow = flow.seen(NOW + second, second + 1, 0, 60.0)
        assert len(flow.points) <= KEPT_POINTS
    line = flow.waiting(NOW + 4999)
    assert line[-1].count == 5000
    assert all(one.age >= 5000 - one.count for one in line)
    assert [one.age for one in line] == sorted((one.age for one in line), reverse=True)
    assert line[0].age == 4999


@given(st.lists(st.tuples(st.floats(0.1, 5), st.integers(0, 100), st.integers(0, 50)), max_size=60))
def test_a_line_has_an_order_whatever_the_counts_say(looks: list[tuple[float, int, int]]) -> None:
    flow, now = Flow(), NOW
    for passed, backlog, finished in looks:
        now += passed
        flow = flow.seen(now, backlog, finished, 60.0)
    line = flow.waiting(now)
    assert [one.count for one in line] == sorted({one.count for one in line})
    assert all(earlier.age >= later.age >= 0 for earlier, later in pairwise(line))
    assert (line[-1].count if line else 0) == (flow.points[-1].backlog if flow.points else 0)
    assert flow.arrivals >= 0


# the budget


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("period", "begin", "end"),
    [
        ("hour", "2024-02-28 13:00", "2024-02-28 14:00"),
        ("day", "2024-02-28", "2024-02-29"),
        ("week", "2024-02-26", "2024-03-04"),
        ("month", "2024-02-01", "2024-03-01"),
    ],
)
def test_periods(period: str, begin: str, end: str) -> None:
    budget = Budget(1.0, next(one for one in PERIODS if one == period), 1.0)
    now = at("2024-02-28 13:45:30")
    assert (budget.begin(now), budget.end(now)) == (at(begin), at(end))
    assert (budget.begin(at(begin)), budget.end(at(begin))) == (at(begin), at(end))


def test_december_ends_in_january() -> None:
    budget = Budget(1.0, "month", 1.0)
    assert budget.end(at("2024-12-31 23:59")) == at("2025-01-01")
    assert budget.end(at("2024-01-31 12:00")) == at("2024-02-01")


def test_what_ran_is_reckoned_and_a_new_period_begins_at_zero() -> None:
    budget = Budget(10.0, "day", 0.5)
    spent = Spent(at("2024-02-28 10:00"), 1.0, 4)
    later = budget.reckon(spent, at("2024-02-28 12:00"), 2)
    assert later == Spent(at("2024-02-28 12:00"), 1.0 + 4 * 2 * 0.5, 2, since=at("2024-02-28"))
    # Over midnight only what ran since then counts.
    next_day = budget.reckon(later, at("2024-02-29 01:00"), 3)
    assert next_day == Spent(at("2024-02-29 01:00"), 2 * 1 * 0.5, 3, since=at("2024-02-29"))
    begun = replace(spent, since=at("2024-02-28 09:00"))  # a budget set late
    assert budget.reckon(begun, at("2024-02-28 12:00"), 2).since == at("2024-02-28 09:00")
    midnight = Spent(at("2024-02-29"), 1.0, 2)
    assert budget.reckon(midnight, at("2024-02-29 01:00"), 0).amount == 1.0 + 2 * 1 * 0.5
    assert budget.reckon(next_day, at("2024-02-29 00:30"), 1).amount == next_day.amount  # a clock that went back


def test_the_fuse_reckons_the_worst_until_the_periods_end() -> None:
    budget = Budget(10.0, "day", 0.5)
    spent = Spent(at("2024-02-28 20:00"), 1.0, 2)
    # Four hours are left: two that run may cost 4, a further one 2 each; 5 are left.
    assert allowance(budget, spent) == Allowance(
        2,
        "budget $10.00 a day: one more machine to midnight UTC is $2.00, $1.00 are left "
        "($1.00 are spent, 4 running to then cost $8.00)",
    )
    assert allowance(budget, Spent(spent.at, 2.0, 2)).machines == 2
    assert allowance(budget, Spent(spent.at, 2.001, 2)).machines == 1
    assert allowance(budget, Spent(spent.at, 9.0, 2)).machines == 0


def test_a_budget_that_lets_no_machine_start_tells_the_sum_in_full() -> None:
    day = at("2024-02-28")
    assert allowance(Budget(0.05, "day", 0.25 / 24), Spent(day)) == Allowance(
        0, "budget $0.05 a day: one more machine to midnight UTC is $0.25, $0.05 are left"
    )
    # As many digits as show the difference.
    assert allowance(Budget(0.0498, "day", 0.05 / 24), Spent(day)).why == (
        "budget $0.05 a day: one more machine to midnight UTC is $0.0500, $0.0498 are left"
    )
    tiny = allowance(Budget(0.000001, "day", 0.05), Spent(day)).why
    assert tiny.startswith("budget $0.000001 a day: one more machine to midnight UTC is $1.20, $0.000001 are left")
    assert allowance(Budget(1.0, "day", 0.05), Spent(day, 1.0)).why == (
        "budget $1.00 a day: one more machine to midnight UTC is $1.20, nothing is left ($1.00 are spent)"
    )


@given(st.floats(0.1, 1000), st.sampled_from(PERIODS), st.floats(0.001, 10), st.floats(0, 1e7), st.integers(0, 50))
def test_a_granted_launch_never_costs_more_than_the_budget(
    amount: float, period: str, price: float, offset: float, machines: int
) -> None:
    budget = Budget(amount, next(one for one in PERIODS if one == period), price)
    spent = Spent(NOW + offset, 0.0, machines)
    granted = allowance(budget, spent).machines
    hours = (budget.end(spent.at) - spent.at) / 3600
    assert granted == 0 or (machines + granted) * hours * price <= amount * (1 + 1e-9)
    ended = budget.reckon(budget.reckon(spent, spent.at, machines + granted), budget.end(spent.at) - 0.001, 0)
    assert granted == 0 or ended.amount <= amount * (1 + 1e-9)
