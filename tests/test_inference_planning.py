"""The planner of split inference: the link from its transfers, and the way that takes the least. Pure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.split.planning import BYTES, GOALS, MONEY, TIME, LinkSpeed, SeenCall, Way, choose, link_speed, shares
from shoal.errors import Permanent
from shoal_cli._splitting import _speed

LINK = LinkSpeed(1e6, 0.05)
small = st.floats(0, 10)
links = st.builds(LinkSpeed, st.floats(1e3, 1e9), small)
ways = st.lists(
    st.builds(Way, st.text("abc", min_size=1), st.booleans(), small, st.just(0.0) | st.floats(1, 1e6), small, small,
              st.none() | small),
    min_size=1, max_size=8,
)  # fmt: skip


@given(links, st.lists(st.integers(1, 10**6), min_size=2, max_size=5, unique=True))
def test_a_link_is_found_from_its_transfers_whatever_one_of_them_met(link: LinkSpeed, sizes: list[int]) -> None:
    transfers = [(size, link.seconds(size)) for size in sizes for _ in range(3)]
    transfers[1] = (transfers[1][0], transfers[1][1] + 60)  # something else held it up

    found = link_speed(transfers)

    for size in (min(sizes), max(sizes)):
        assert found.seconds(size) == pytest.approx(link.seconds(size), rel=1e-6, abs=1e-6)


def test_a_link_without_a_limit_and_one_that_was_measured_with_one_size() -> None:
    assert link_speed([(1, 0.2), (10, 0.2), (1000, 0.1)]).seconds(10**6) == pytest.approx(0.2, abs=0.01)
    assert str(link_speed([(1, 0.2), (10, 0.2)])) == "no limit seen, round trip 200 ms"
    assert str(LINK) == "8 Mbit/s, round trip 50 ms"
    with pytest.raises(ValueError, match="two sizes"):
        link_speed([(5, 1.0), (5, 2.0)])


@given(links, st.lists(st.tuples(small, small, st.floats(0, 1e6)), min_size=1, max_size=4), small)
def test_the_parts_of_steady_calls_are_told_apart(
    link: LinkSpeed, there: list[tuple[float, float, float]], waiting: float
) -> None:
    calls = [
        [SeenCall(device + model + waiting + link.seconds(size), device, model, size)] * 3
        for device, model, size in there
    ]

    found = shares(calls, link)

    assert list(zip(found.device, found.model, strict=True)) == [(device, model) for device, model, _ in there]
    assert found.waiting == pytest.approx(waiting, abs=1e-6)


def test_the_parts_add_up_to_the_median_of_calls_of_which_each_is_slow_somewhere_else() -> None:
    parts = [(0.3, 0.01, 0.1), (0.1, 0.05, 0.1), (0.1, 0.01, 0.4)]
    calls = [SeenCall(device + model + wait + LINK.seconds(0), device, model, 0) for device, model, wait in parts]

    found = shares([calls], LINK)

    assert found.device[0] + found.model[0] + found.waiting == pytest.approx(0.41)  # their totals: 0.41, 0.25, 0.51


@given(ways, links, st.sampled_from(GOALS), st.booleans())
def test_no_allowed_way_takes_less_than_the_chosen_one(
    there: list[Way], link: LinkSpeed, goal: str, never_send_photo: bool
) -> None:
    allowed = [
        one
        for one in there
        if not (never_send_photo and one.sends_photo) and (goal != MONEY or one.dollars is not None)
    ]
    if not allowed:
        with pytest.raises(Permanent):
            choose(there, link, goal, never_send_photo)
        return

    found = choose(there, link, goal, never_send_photo)

    def cost(way: Way) -> float:
        return {TIME: way.total(link), MONEY: way.dollars or 0.0, BYTES: way.sent_bytes}[goal]

    assert found.chosen in allowed
    assert cost(found.chosen) == min(map(cost, allowed))
    assert len(found.ways) == len(there)
    assert found.ways[0] == found.chosen
    assert found.chosen.name in found.sentence
    assert found.sentence.endswith(".")


def test_the_sentence_says_the_reckoning_and_what_privacy_costs() -> None:
    cut = Way("conv4", False, 0.041, 88_000, 0.03, 0.019)
    deep = Way("conv5", False, 0.2, 33_000, 0.03, 0.005)
    photo = Way("the photo, resized", True, 0.01, 17_000, 0.03, 0.03)

    found = choose([deep, cut, photo], LINK, TIME, never_send_photo=True)

    assert found.sentence == (
        "conv4: head 41 ms, 88 KB in 138 ms, wait 30 ms, tail 19 ms: 228 ms; "
        "next conv5: head 200 ms, 33 KB in 83 ms, wait 30 ms, tail 5 ms: 318 ms; "
        "the photo, resized: resized here 10 ms, 17 KB in 67 ms, wait 30 ms, model 30 ms: 137 ms, "
        "but you asked that no photo be sent; so conv4, for the least time."
    )
    assert choose([deep, cut, photo], LINK).chosen is photo
    assert choose([deep, cut, photo], LINK, BYTES).chosen is photo


@pytest.mark.parametrize("kept", ["", "[]", "{}", '{"made_for": {}, "seconds": 1}', "no JSON"])
def test_a_damaged_benchmark_is_made_again(tmp_path: Path, kept: str) -> None:
    file = tmp_path / _speed.FILE
    assert _speed.read(file, {}) is None
    file.write_text(kept)
    assert _speed.read(file, {}) is None
    right = {"made_for": {"cpu": "x"}, "seconds": {"a.b": 1}, "sent_bytes": {}, "busy": 0.5, "at": 9}
    file.write_text(json.dumps(right))
    assert _speed.read(file, {"cpu": "x"}) == _speed.DeviceSpeed({"a.b": 1.0}, {}, 0.5, 9.0)
    assert _speed.read(file, {"cpu": "y"}) is None
