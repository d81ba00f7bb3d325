"""`shoal doctor` says when photos wait and nothing gets on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shoal import ledger_file
from shoal.ledger import Entry, PoolCounts
from shoal.settings import Settings
from shoal_cli.doctor import Finding, _progress

ENTRY = Entry(1.0, "a sentence", 3, 0, 0, 1, 1)


def found(folder: Path, *entries: Entry) -> Finding:
    lines = "".join(f"{entry.to_json()}\n" for entry in entries)
    (folder / ledger_file.NAME).write_text(lines)
    return _progress(Settings(state_dir=folder))


def test_all_is_well(tmp_path: Path) -> None:
    assert found(tmp_path, ENTRY) == Finding("progress", True, "3 photos wait or are worked on")


def test_lost_workers_are_worth_reading(tmp_path: Path) -> None:
    told = found(tmp_path, replace(ENTRY, pool=PoolCounts(lost=2)))
    assert (told.good, told.note, told.told.startswith("2 workers do not work")) == (True, True, True)


@pytest.mark.parametrize(("words", "fix"), [("a worker waits for the store", "disk"), ("no photo is taken", "log")])
def test_a_standstill_is_bad_and_has_a_fix(tmp_path: Path, words: str, fix: str) -> None:
    told = found(tmp_path, ENTRY, replace(ENTRY, standstill=words), replace(ENTRY, dry_run=True))
    assert (told.good, told.told) == (False, words)
    assert fix in told.fix


def test_no_ledger_here(tmp_path: Path) -> None:
    assert _progress(Settings(state_dir=tmp_path)).good
