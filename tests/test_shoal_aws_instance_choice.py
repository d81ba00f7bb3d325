"""Which machine to ask for next, and what is remembered of types that were not available."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal.aws.instance_choice import Ask, InstanceChoice, InstanceOption
from shoal.errors import CapacityUnavailable

MEMORY_SECONDS = 180.0


class Steady:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def steady() -> Steady:
    return Steady()


def choice(steady: Steady, types: str = "t3.medium", places: str = "", spot_share: float = 0.0) -> InstanceChoice:
    return InstanceChoice(types.split(), places.split(), spot_share, MEMORY_SECONDS, steady)


def test_missing_capacity_is_remembered_for_three_minutes(steady: Steady) -> None:
    """Pitfall: capacity errors. Without the memory each tick asks for what was refused a second ago."""
    some = choice(steady, "t3.medium t3a.medium", "us-east-1a us-east-1b")
    first = some.choose(3, 0, 0).option
    some.missing(first)
    asked = {some.choose(3, 0, 0).option for _ in range(20)}
    assert first not in asked
    assert {one.instance_type for one in asked} == {"t3.medium"}  # the other zone, before another type
    some.missing(asked.pop())
    assert {some.choose(3, 0, 0).option.instance_type for _ in range(20)} == {"t3a.medium"}
    steady.now += MEMORY_SECONDS
    assert first in {some.choose(3, 0, 0).option for _ in range(20)}


def test_when_nothing_is_left_it_says_what_and_until_when(steady: Steady) -> None:
    some = choice(steady)
    some.missing(some.choose(1, 0, 0).option)
    steady.now += 60
    with pytest.raises(CapacityUnavailable, match=r"t3.medium in any zone \(on demand\); not asked again for"):
        some.choose(1, 0, 0)


def test_launches_go_round_the_zones(steady: Steady) -> None:
    some = choice(steady, places="a b c")
    asked = [some.choose(1, 0, 0).option.place for _ in range(9)]
    assert all(one != other for one, other in pairwise(asked))
    assert set(asked) == {"a", "b", "c"}


def test_on_demand_takes_the_place_of_spot(steady: Steady) -> None:
    """Pitfall: capacity errors, on-demand failover."""
    some = choice(steady, places="a b", spot_share=1.0)
    for _ in range(2):
        ask = some.choose(4, 0, 0)
        assert ask.option.spot
        some.missing(ask.option)
    assert not some.choose(4, 0, 0).option.spot
    assert some.choose(4, 0, 0).count == 4


def test_spot_never_takes_the_place_of_on_demand_unasked(steady: Steady) -> None:
    some = choice(steady, spot_share=0.0)
    some.missing(some.choose(1, 0, 0).option)
    with pytest.raises(CapacityUnavailable):
        some.choose(1, 0, 0)


def test_a_quota_of_the_market_rules_out_all_of_it(steady: Steady) -> None:
    some = choice(steady, "t3.medium t3a.medium", "a b", spot_share=1.0)
    some.missing(some.choose(1, 0, 0).option, whole_market=True)
    assert not some.choose(1, 0, 0).option.spot


@given(share=st.floats(0, 1), count=st.integers(1, 200), had=st.integers(0, 100), spot=st.floats(0, 1))
def test_launches_bring_the_pool_to_its_share_of_spot(share: float, count: int, had: int, spot: float) -> None:
    some = choice(Steady(), spot_share=share)
    total, spots, left = had, round(had * spot), count
    for _ in range(2):
        if left:
            ask = some.choose(left, total, spots)
            assert 1 <= ask.count <= left
            total, left = total + ask.count, left - ask.count
            spots += ask.count if ask.option.spot else 0
    assert left == 0
    least, most = round(had * spot), round(had * spot) + count
    assert spots == pytest.approx(min(max(share * total, least), most), abs=1)


@given(
    kind=st.sampled_from(["t3.medium", "u7inh-32tb.480xlarge", "c7gd.metal-48xl"]),
    place=st.sampled_from(["", "us-gov-west-1a", "subnet-0123456789abcdef0"]),
    spot=st.booleans(),
    count=st.integers(1, 999),
)
def test_a_token_says_what_it_asks_for_within_ec2s_64_characters(kind: str, place: str, spot: bool, count: int) -> None:
    ask = Ask(InstanceOption(kind, place, spot), count)
    token = ask.token()
    assert Ask.of(token) == ask
    assert len(token) <= 64
    assert token != ask.token()


def test_a_token_of_somebody_else_says_nothing() -> None:
    assert Ask.of("9f8b7c") is None
    assert Ask.of("a/b/c/d") is None
