"""What the command says when nothing gets on: `shoal doctor` when photos wait, `shoal up` while it stops."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from unittest.mock import ANY

import pytest

from shoal import ledger_file
from shoal.errors import Retryable
from shoal.ledger import Entry, PoolCounts, Refusal
from shoal.lifecycle import holder, is_stopping, only_one, tell_stopping
from shoal.memory import ManualClock, memory_cloud
from shoal.ports import Depth
from shoal.settings import Settings
from shoal_cli import up
from shoal_cli._processes import Child, pump
from shoal_cli.doctor import Finding, _progress
from shoal_cli.status import NO_SHARDS, shards_of

ENTRY = Entry(1.0, "a sentence", 3, 0, 0, 1, 1)


def found(folder: Path, *entries: Entry) -> Finding:
    lines = "".join(f"{entry.to_json()}\n" for entry in entries)
    (folder / ledger_file.NAME).write_text(lines)
    return _progress(Settings(state_dir=folder))


def test_all_is_well(tmp_path: Path) -> None:
    assert found(tmp_path, ENTRY) == Finding("progress", True, "3 photos wait or are worked on")
    assert found(tmp_path, replace(ENTRY, visible=1)).told == "1 photo waits or is worked on"


def test_what_waits_of_bulk_runs_is_said_beside_the_photos_of_people(tmp_path: Path) -> None:
    (tmp_path / ledger_file.NAME).write_text(f"{replace(ENTRY, visible=0).to_json()}\n")
    told = _progress(Settings(state_dir=tmp_path), Depth(2, 1, 1)).told
    assert told == "0 photos wait or are worked on; bulk runs: 4 shards: 3 waiting, 1 in work"
    queue = memory_cloud(ManualClock()).bulk
    assert shards_of(queue) == NO_SHARDS
    queue.send(["a shard"])
    assert shards_of(queue) == Depth(1, 0, 0)


def test_lost_workers_are_worth_reading(tmp_path: Path) -> None:
    told = found(tmp_path, replace(ENTRY, pool=PoolCounts(lost=2)))
    assert (told.good, told.note, told.told.startswith("2 workers do not work")) == (True, True, True)
    one = found(tmp_path, replace(ENTRY, pool=PoolCounts(lost=1))).told
    assert one.startswith("1 worker does not work and is being replaced")


@pytest.mark.parametrize(("words", "fix"), [("a worker waits for the store", "disk"), ("no photo is taken", "log")])
def test_a_standstill_is_bad_and_has_a_fix(tmp_path: Path, words: str, fix: str) -> None:
    told = found(tmp_path, ENTRY, replace(ENTRY, standstill=words), replace(ENTRY, dry_run=True))
    assert (told.good, told.told) == (False, words)
    assert fix in told.fix


def test_what_lets_no_worker_start_is_bad_while_photos_wait(tmp_path: Path) -> None:
    why = "budget $0.05 a day: one more machine to midnight UTC is $0.25, $0.05 are left"
    held = replace(ENTRY, refused=(Refusal(1, why),), machines=0)
    assert found(tmp_path, held) == Finding("progress", False, f"no worker can start: {why}", ANY)
    assert found(tmp_path, replace(held, machines=1)).told == f"no more workers can start: {why}"
    nothing_waits = found(tmp_path, replace(held, visible=0, in_flight=0, delayed=0))
    assert (nothing_waits.good, nothing_waits.note) == (True, False)


def test_no_ledger_here(tmp_path: Path) -> None:
    assert _progress(Settings(state_dir=tmp_path)).good


def test_a_stop_that_takes_long_says_what_it_waits_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow = (
        "import signal, time; signal.signal(signal.SIGTERM, lambda *_: time.sleep(1.3) or exit()); "
        "print('up', flush=True); signal.pause()"
    )
    children = [
        Child("cloud", [sys.executable, "-c", slow], tmp_path / "cloud.log", os.environ),
        Child(
            "web",
            [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"],
            tmp_path / "web.log",
            os.environ,
        ),
    ]
    for child in children:
        child.start()
        pump([child], 20, lambda *_: None)

    up.stop_all(children)

    told = capsys.readouterr().out
    assert "Stopping: the workers finish or give back their photos" in told
    assert "web tier" not in told
    assert [child.pid for child in children] == [0, 0]


def test_a_start_waits_for_a_shoal_that_stops(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = tmp_path / "up.lock"
    held = only_one(lock, "runs")
    held.__enter__()
    assert (holder(lock), is_stopping(lock)) == (os.getpid(), False)
    tell_stopping(lock)
    assert (holder(lock), is_stopping(lock)) == (os.getpid(), True)
    monkeypatch.setattr(up, "END_SECONDS", 0.0)
    with pytest.raises(Retryable, match="is still stopping: try again"):
        up._wait_for_its_end(lock)
    assert "is still stopping: waiting for its end" in capsys.readouterr().out
    held.__exit__(None, None, None)
    up._wait_for_its_end(lock)
    with only_one(lock, "runs"):
        assert not is_stopping(lock)
