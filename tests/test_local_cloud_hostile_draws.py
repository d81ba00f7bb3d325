"""What hostile mode draws: pure, so every property is shown on many seeds."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local_cloud.arguments import parse
from local_cloud.hostile import fates
from local_cloud.hostile.dice import Dice, Hostility
from local_cloud.hostile.fates import Fate
from local_cloud.hostile.journal import FaultJournal, count
from local_cloud.hostile.kinds import KINDS

PAGE = Path(__file__).parent.parent / "docs" / "hostile.md"

seeds = st.integers(-(2**63), 2**63)
kinds = st.sampled_from(sorted(KINDS))


def rolls(dice: Dice, kind: str, times: int = 50) -> list[float | None]:
    return [dice.roll(kind) for _ in range(times)]


@given(seeds, kinds, st.lists(kinds, max_size=100))
def test_a_kind_draws_the_same_whatever_the_others_do(seed: int, kind: str, others: list[str]) -> None:
    undisturbed = rolls(Dice(Hostility(seed, rate=3.0)), kind)
    dice = Dice(Hostility(seed, rate=3.0))
    found = []
    for number in range(len(undisturbed)):
        for other in others[number::50]:
            if other != kind:
                dice.roll(other)
        found.append(dice.roll(kind))
    assert found == undisturbed


@given(seeds, kinds, st.sets(kinds))
def test_choosing_kinds_switches_the_others_off_and_changes_nothing_else(seed: int, kind: str, only: set[str]) -> None:
    chosen = rolls(Dice(Hostility(seed, (kind, *only), rate=3.0)), kind)
    assert chosen == rolls(Dice(Hostility(seed, rate=3.0)), kind)
    for other in KINDS.keys() - only - {kind}:
        assert rolls(Dice(Hostility(seed, (kind, *only), rate=3.0)), other) == [None] * 50


@given(seeds, kinds)
def test_magnitudes_lie_between_0_and_1_and_no_rate_means_no_fault(seed: int, kind: str) -> None:
    assert all(0.0 <= one < 1.0 for one in rolls(Dice(Hostility(seed, rate=1e9)), kind) if one is not None)
    assert None not in rolls(Dice(Hostility(seed, rate=1e9)), kind)
    assert rolls(Dice(Hostility(seed, rate=0.0)), kind) == [None] * 50


@pytest.mark.parametrize("kind", KINDS)
def test_the_rates_are_those_of_the_table(kind: str) -> None:
    hits = sum(one is not None for one in rolls(Dice(Hostility(1)), kind, 20_000))
    assert hits / 20_000 == pytest.approx(KINDS[kind].rate, rel=0.2)


def test_different_seeds_give_different_faults() -> None:
    found = {tuple(rolls(Dice(Hostility(seed, rate=3.0)), "failed-delete", 200)) for seed in range(50)}
    assert len(found) == 50


@given(seeds, st.floats(0.01, 1.0))
def test_fates_follow_the_seed_and_keep_to_their_bounds(seed: int, scale: float) -> None:
    hostility = Hostility(seed, rate=5.0, scale=scale)
    first, second = Dice(hostility), Dice(hostility)
    for _ in range(10):
        fate = fates.draw(first)
        assert fate == fates.draw(second)
        assert fate.slow_boot_seconds in (0.0, 90.0 * scale)
        assert fate.clock_offset_seconds == 0.0 or 120.0 <= abs(fate.clock_offset_seconds) <= 600.0
        if fate.partition is not None:
            assert 60.0 * scale <= fate.partition.for_seconds <= 300.0 * scale


def test_without_a_chosen_kind_of_its_own_an_instance_has_no_fate() -> None:
    dice = Dice(Hostility(1, ("throttled",), rate=1e9))
    assert fates.draw(dice) == Fate(notice_seconds=dice.hostility.scale * 120.0)


def test_the_journal_counts_what_many_wrote(tmp_path: Path) -> None:
    path = tmp_path / "hostile.jsonl"
    assert count(path) == Counter()
    for journal in (FaultJournal(path), FaultJournal(path)):
        journal.note("throttled", "RunInstances")
        journal.note("slow-down", "GET /b/Fotos/ä.jpg")
    with path.open("a") as file:
        file.write('{"at": 1, "kind": "thr\n[]\n')  # a full disk
    assert count(path) == {"throttled": 2, "slow-down": 2}


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse(["--state-dir", "x"]).hostility is None
    words = ["--hostile", "7", "--hostile-only", "slow-down, throttled", "--hostile-rate", "2", "--hostile-scale", "1"]
    found = parse(["--state-dir", "x", *words]).hostility
    assert found == Hostility(7, ("slow-down", "throttled"), 2.0, 1.0)
    assert Hostility.from_dict(found.to_dict()) == found
    with pytest.raises(SystemExit):
        parse(["--state-dir", "x", "--hostile", "7", "--hostile-only", "bad-luck"])
    assert "no fault named bad-luck" in capsys.readouterr().err


def test_the_page_tells_of_every_kind_and_its_rate() -> None:
    text = PAGE.read_text()
    for kind in KINDS.values():
        assert f"| `{kind.name}` | {kind.rate:.0%} of {kind.of} | {kind.what} |" in text
