"""Pictures that are nearly the same, by their hashes, and the command that lists them."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from runs.duplicates import FARTHEST, groups
from runs.rows import BulkRow, Picture
from shoal.errors import MalformedMessage, Permanent
from shoal_cli.__main__ import shoal
from tests.test_runs_exports import FIRST, LABELLED, objects, row, stored

BITS = st.lists(st.integers(0, 63), max_size=FARTHEST + 2)


def by_comparing_all(hashes: list[int], distance: int) -> list[list[int]]:
    leader = list(range(len(hashes)))
    for first, second in itertools.combinations(range(len(hashes)), 2):
        if (hashes[first] ^ hashes[second]).bit_count() <= distance:
            old, new = leader[second], leader[first]
            leader = [new if one == old else one for one in leader]
    found = defaultdict(list)
    for number, one in enumerate(leader):
        found[one].append(number)
    return sorted(one for one in found.values() if len(one) > 1)


@given(
    st.lists(st.tuples(st.sampled_from([0, 2**64 - 1, 0x0123456789ABCDEF]), BITS), max_size=30),
    st.integers(0, FARTHEST),
)
def test_the_groups_are_those_that_comparing_each_with_each_finds(
    made: list[tuple[int, list[int]]], distance: int
) -> None:
    hashes = []
    for value, bits in made:
        for bit in bits:
            value ^= 1 << bit
        hashes.append(value)
    assert groups(hashes, distance) == by_comparing_all(hashes, distance)


def test_large_groups_are_compared_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.duplicates.PAIRS_AT_ONCE", 7)
    hashes = [1 << bit for bit in range(64)]  # each differs from each in two bits
    assert groups(hashes, 2) == [list(range(64))]
    assert groups(hashes, 1) == []


def test_the_command_lists_groups_the_largest_picture_first(tmp_path: Path) -> None:
    def hashed(key: str, value: int, width: int) -> BulkRow:
        return replace(row(key), picture=Picture(width, 10, f"{value:016x}"))

    rows = [hashed("a.jpg", 7, 10), hashed("b.jpg", 3 << 40, 10), hashed("c é.jpg", 5, 20), hashed("d.jpg", 0, 10)]
    folder = stored(tmp_path / "labels", objects(FIRST, [rows, [LABELLED]]))
    asked = ("runs", "duplicates", str(folder))
    told = CliRunner().invoke(shoal, [*asked, "--distance", "1"])
    assert told.stdout == "20 x 10, 7 bytes  c é.jpg\n10 x 10, 7 bytes  a.jpg\n\n"
    assert told.stderr == "1 group of 2 photos among 4: 1 could go\n"
    told = CliRunner().invoke(shoal, [*asked, "--json"])
    assert json.loads(told.stdout) == ["c é.jpg", "a.jpg", "b.jpg", "d.jpg"]  # a chain

    stored(folder, objects(FIRST, [[LABELLED], []]))
    assert isinstance(CliRunner().invoke(shoal, asked).exception, Permanent)


def test_what_is_known_of_a_picture_is_read_back_and_checked() -> None:
    known = replace(LABELLED, picture=Picture(3, 2, "00ff" * 4, "2026-07-01T12:00:00", 51.5, -0.125))
    line = json.dumps(known.to_dict())
    assert BulkRow.from_line(line) == known
    for old, new in (('"00ff', '"00fg'), ('"2026-', '"26-'), ("51.5", '"north"'), ('"longitude"', '"other"')):
        with pytest.raises(MalformedMessage):
            BulkRow.from_line(line.replace(old, new))
