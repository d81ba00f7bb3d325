"""The pure parts of `shoal compare`: figures, order, costs, the answer."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparison.answer import NOTHING_MEASURED, answer
from comparison.costs import LARGEST_VOLUME, AlwaysOn, MonthlyCost, PerCall, Pool, cheaper_from, per_thousand
from comparison.figures import TimeSpread, rows
from comparison.measurement import AS_IT_IS, RESIZED, Lane, Measurement, Phase
from comparison.pricing import monthly_costs
from comparison.report import COLUMNS, as_json, csv_rows
from comparison.running import run
from comparison.schedule import Stint, both_sizes, stints
from comparison.tables import summary
from shoal.settings import Settings

LOCAL, POOL, SMALL = Lane("local", AS_IT_IS), Lane("pool", AS_IT_IS), Lane("local", RESIZED)

durations = st.lists(st.floats(0.001, 100), min_size=1, max_size=50)


def measured(
    lane: Lane, total: float, wait: float = 0, inference: float = 0, *, label: str = "tabby", phase: Phase = "measured"
) -> Measurement:
    return Measurement(lane, "a.jpg", 1, phase, total, wait, inference, 100, label)


@given(durations)
def test_a_spread_is_what_numpy_computes(values: list[float]) -> None:
    spread = TimeSpread.of(values)
    assert spread.p50 == pytest.approx(np.percentile(values, 50))
    assert spread.p95 == pytest.approx(np.percentile(values, 95))
    assert spread.sd == pytest.approx(statistics.stdev(values) if len(values) > 1 else 0)
    assert spread.least <= spread.p50 <= spread.p95 <= spread.most


@given(durations, durations, durations)
def test_the_parts_add_up_to_the_total(transfer: list[float], wait: list[float], inference: list[float]) -> None:
    parts = list(zip(transfer, wait, inference, strict=False))
    [row] = rows([measured(LOCAL, sum(one), wait=one[1], inference=one[2]) for one in parts], {}, None)
    means = {part: spread.mean for part, spread in row.seconds.items()}
    assert means["transfer"] + means["wait"] + means["inference"] == pytest.approx(means["total"])


def test_a_row_counts_what_was_measured_alone() -> None:
    told = [
        measured(LOCAL, 9.0, phase="cold"),
        measured(LOCAL, 8.0, phase="warm-up"),
        measured(LOCAL, 1.0),
        measured(POOL, 2.0, label="tiger_cat"),
        Measurement(POOL, "b.jpg", 1, "measured", 60.0, error="no result within 60 s"),
    ]
    local, pool = rows(told, {LOCAL: 0.5, POOL: 4.0}, POOL)
    assert (local.cold, local.labelled, local.images_per_second, local.agreement) == (9.0, 1, 2.0, 0.0)
    assert (pool.cold, pool.labelled, pool.failed, pool.why) == (None, 1, 1, "no result within 60 s")
    assert (pool.seconds["total"].most, pool.agreement) == (2.0, 1.0)


@given(st.integers(1, 4), st.integers(1, 12), st.integers(1, 4), st.integers(0, 5))
def test_every_photo_goes_once_through_every_lane_in_every_round(
    venues: int, photos: int, rounds_: int, warm_up: int
) -> None:
    lanes = [Lane(str(number), AS_IT_IS) for number in range(venues)]
    names = [f"{number}.jpg" for number in range(photos)]
    planned = list(stints(lanes, names, rounds_, warm_up))
    first = [stint for stint in planned if stint.phase == "cold"]
    assert [stint.lane for stint in first] == lanes
    assert all(len(stint.photos) == warm_up for stint in planned if stint.phase == "warm-up")
    counted = [stint for stint in planned if stint.phase == "measured"]
    assert planned[len(planned) - len(counted) :] == counted
    for number in range(rounds_):
        one = counted[number * venues : (number + 1) * venues]
        assert {stint.lane for stint in one} == set(lanes)
        assert {stint.round for stint in one} == {number + 1}
        assert all(sorted(stint.photos) == sorted(names) for stint in one)


class CountingDoor:
    def __init__(self) -> None:
        self.calls = 0

    def measure(self, stint: Stint, photo: str, content: bytes) -> Measurement:
        self.calls += 1
        return Measurement(stint.lane, photo, stint.round, stint.phase, 1.0)


def test_a_run_that_is_stopped_keeps_what_was_measured() -> None:
    door, photos = CountingDoor(), ["a", "b", "c"]
    plan = stints(both_sizes(["pool"]), photos, 5)
    done = run(plan, door, lambda *_: b"", 1, lambda *_: None, lambda: door.calls >= 12)
    assert done.interrupted
    assert 11 <= len(done.measurements) <= door.calls <= 13  # of 40: the three of this stint may have begun


prices = st.floats(0.001, 1)
always_on = st.builds(AlwaysOn, prices, st.floats(1, 100))
pools = st.builds(
    Pool,
    always_on_per_hour=prices, per_hour=prices, images_per_second=st.floats(1, 100), idle_seconds=st.floats(0, 600),
    waves_a_day=st.floats(0, 24), per_image=st.floats(0, 1e-4),
)  # fmt: skip
calls = st.builds(PerCall, st.floats(0.1, 10), st.floats(0.01, 15), st.floats(1e-6, 1e-4), st.floats(0, 1e-4))
costs = st.one_of(always_on, pools, calls)


@given(costs, st.integers(1, 10**6), st.integers(1, 10**6))
def test_more_images_never_cost_less(cost: MonthlyCost, few: int, more: int) -> None:
    low, high = sorted((few, more))
    assert cost.month(low) <= cost.month(high) * (1 + 1e-12)


@given(costs, costs)
def test_the_break_even_is_where_it_changes(one: MonthlyCost, other: MonthlyCost) -> None:
    start = cheaper_from(one, other)
    if start is None:
        assert one.month(1) >= other.month(1)
        assert one.month(LARGEST_VOLUME) >= other.month(LARGEST_VOLUME)
        return
    assert one.month(start) < other.month(start)
    assert start == 1 or one.month(start - 1) >= other.month(start - 1)


def test_costs_by_hand() -> None:
    machine = AlwaysOn(per_hour=0.10, images_per_second=10)
    assert machine.month(1) == pytest.approx(0.10 * 24 * 365.25 / 12)
    assert machine.month(604_801) == pytest.approx(2 * machine.month(1))  # 10 a second, for 70 % of a day
    function = PerCall(gigabytes=2, seconds=0.5, per_gigabyte_second=1e-5, per_image=1e-6)
    assert per_thousand(function, 77) == pytest.approx(1000 * 1.1e-5)
    pool = Pool(0.01, 0.10, 10, idle_seconds=360, waves_a_day=2, per_image=0)
    assert pool.month(36_000) == pytest.approx(365.25 / 12 * (0.24 + (1 + 0.2) * 0.10))
    assert cheaper_from(function, machine) == 1
    assert cheaper_from(machine, function) == 218_182  # $2.40 a day over $0.000011 an image


def test_the_answer_names_the_fastest_the_margin_and_the_reason() -> None:
    told = [measured(LOCAL, 0.031, inference=0.030), measured(POOL, 0.096, inference=0.030, wait=0.05)] * 5
    found = rows(told, {}, POOL)
    said = answer(found, {"local": AlwaysOn(0.1, 30), "pool": Pool(0.02, 0.1, 30, 60, 1, 0)}, 1000)
    assert said.speed == "Use local: 31 ms an image against 96 ms with pool, for photos wait less."
    assert said.cost.startswith("At 1,000 images a day pool is the cheapest, $")


def test_the_answer_says_when_there_is_no_clear_difference() -> None:
    told = [measured(LOCAL, seconds) for seconds in (0.03, 0.031, 0.3)] + [measured(POOL, 0.032)]
    assert answer(rows(told, {}, POOL), {}, 1).speed == (
        "There is no clear difference in speed: local takes 31 ms an image and pool 32 ms, "
        "but one call in twenty to local takes 273 ms or more."
    )


def test_the_answer_is_cautious_with_few_calls_or_when_the_difference_may_be_chance() -> None:
    few = [measured(LOCAL, 0.02), measured(POOL, 0.05)]
    said = answer(rows(few, {}, POOL), {}, 1).speed
    assert said.endswith("That rests on one call alone: send more photos or rounds to be sure.")
    wild = [measured(POOL, seconds) for seconds in (0.001, 0.05, 0.05, 0.05, 0.01)]
    said = answer(rows([measured(LOCAL, 0.02)] * 5 + wild, {}, POOL), {}, 1).speed
    assert said.startswith("Use local: 20 ms")
    assert said.endswith("this may be chance: send more photos or rounds to be sure.")
    clear = [measured(LOCAL, 0.02)] * 5 + [measured(POOL, 0.05)] * 5
    assert "sure" not in answer(rows(clear, {}, POOL), {}, 1).speed


def test_what_was_not_measured_or_labels_otherwise_is_not_in_the_answer() -> None:
    failed = Measurement(POOL, "a.jpg", 0, "cold", 1.0, error="the venue is not here")
    assert str(answer(rows([failed], {}, POOL), {"pool": AlwaysOn(1, 1)}, 1)) == NOTHING_MEASURED
    told = [measured(SMALL, 0.01, label="espresso"), measured(LOCAL, 0.02), measured(POOL, 0.05)]
    assert answer(rows(told, {}, POOL), {}, 1).speed.startswith("Use local: 20 ms")
    alone = answer(
        rows([measured(LOCAL, 0.02), failed], {}, POOL), {"local": AlwaysOn(0, 9), "pool": AlwaysOn(1, 1)}, 5
    )
    assert str(alone) == (
        "Local takes 20 ms an image; no other venue was measured. "
        "At 5 images a day local is the cheapest, nothing a month."
    )


def test_the_browser_is_advised_where_its_labels_are_the_same_and_priced_by_what_new_devices_fetch() -> None:
    lane = Lane("browser", AS_IT_IS)
    first = replace(measured(lane, 1.5, phase="cold"), fetched_bytes=7_700_000, kept=1.25)
    told = [measured(POOL, 0.1, wait=0.07, inference=0.02)] * 5
    same = rows([first, *[measured(lane, 0.04, inference=0.04)] * 5, *told], {}, POOL)
    cost = monthly_costs(Settings(price_per_hour=1.0), same)
    said = answer(same, cost, 1000)
    assert said.speed.startswith("Use browser: 40 ms an image against 100 ms with pool")
    assert said.speed.endswith("That is a browser of this machine: on a phone it takes longer.")
    assert said.cost.startswith("At 1,000 images a day browser is the cheapest, $0.21 a month against $")
    assert cost["browser"].month(1) == pytest.approx(cost["browser"].month(10) / 10)
    assert (
        cost["browser"].month(10) == cost["browser"].month(100_000) == pytest.approx(365.25 / 12 * 10 * 0.0077 * 0.09)
    )
    assert [line[2] for line in summary(same, cost, 1000).rows] == ["1.50 s, 1.25 later", "-"]
    other = rows([first, *[measured(lane, 0.04, label="sock")] * 5, *told], {}, POOL)
    said = answer(other, monthly_costs(Settings(price_per_hour=1.0), other), 1000)
    assert said.speed == "Pool takes 100 ms an image; no other venue gives the same labels."
    assert "browser" not in str(said)


@pytest.mark.parametrize(("resized", "best"), [(0.0195, "local"), (0.012, "local, resized")])
def test_photos_are_resized_only_where_that_is_clearly_faster(resized: float, best: str) -> None:
    told = [measured(LOCAL, 0.02), measured(SMALL, resized), measured(POOL, 0.05)]
    assert answer(rows(told, {}, POOL), {}, 1).speed.startswith(f"Use {best}: ")


def test_the_report_has_all_figures() -> None:
    found = rows([measured(LOCAL, 0.5), measured(SMALL, 0.25)], {LOCAL: 1.0, SMALL: 1.0}, LOCAL)
    cost: dict[str, MonthlyCost] = {"local": AlwaysOn(0.1, 2)}
    told = as_json(found, cost, 500, answer(found, cost, 500))
    assert [lane["size"] for lane in told["lanes"]] == ["as it is", "resized"]
    assert told["lanes"][1]["seconds"]["total"]["p95"] == 0.25
    assert set(told["costs"]["local"]["a_month"]) == {"100", "500", "1000", "10000", "100000", "1000000"}
    assert all(set(line) <= set(COLUMNS) for line in csv_rows(found))
    assert next(csv_rows(found))["total_mean"] == 0.5


def test_the_function_is_priced_with_its_share_of_a_processor_where_it_had_a_whole_one() -> None:
    lane = Lane("lambda", AS_IT_IS)
    found = rows([measured(lane, 1.0, inference=0.45)], {}, None)
    here, there = (
        monthly_costs(Settings(emulated=emulated, price_per_hour=1.0, lambda_memory_mb=512), found)["lambda"]
        for emulated in (True, False)
    )
    assert isinstance(here, PerCall)
    assert isinstance(there, PerCall)
    assert (there.seconds, here.seconds) == pytest.approx((0.5, 0.5 * 1769 / 512))
