"""What the ledger keeps of each tick, in words and numbers, and for how long."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet import FleetWorld
from controller import ledger as ledgers
from controller.budget import Spent
from controller.ledger import Entry, Ledger
from controller.plan import Drain, Launch, Refusal, Terminate
from controller.policy import Decision, Intent, Observation
from shoal.ledger import read
from shoal.ports import Depth, Instance


@pytest.fixture
def world(tmp_path: Path) -> FleetWorld:
    return FleetWorld(tmp_path)


def test_the_ledger_explains_in_words_and_numbers(world: FleetWorld) -> None:
    world.send(100)
    world.tick(2, work=False)
    first, second = read(world.ledger_path)
    assert first["sentence"] == "backlog 100, one each: need 100; cap 15; launched 15"
    assert (first["visible"], first["desired"], first["machines"]) == (100, 15, 0)
    assert first["done"] == [{"act": "launch", "names": [f"app-tier-instance-{n}" for n in range(1, 16)]}]
    assert first["token"] > 0
    assert not first["dry_run"]
    assert second["sentence"] == "backlog 100, one each: need 100; cap 15; 15 running; desired 15, nothing to do"
    assert second["pool"] == {"running": 15, "pending": 0, "lost": 0, "leaving": 0}


def entry(**changes: object) -> Entry:
    machines = (
        Instance("i-1", "n", "running", 0.0),
        Instance("i-2", "n", "pending", 0.0),
        Instance("i-3", "n", "running", 0.0, drain_since=1.0),
        Instance("i-4", "n", "stopped", 0.0),
    )
    seen = Observation(1000.0, Depth(400, 12, 0), machines, (Intent("t", ("a", "b", "c"), 1.0),))
    whole = Entry(seen, Decision(15, "9 s each, target 60 s: need 62; cap 15"), (Launch(tuple("abcdef")),))
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_the_sentence_of_the_issue() -> None:
    assert entry(refused=(Refusal(5, "budget"),)).sentence() == (
        "backlog 412, 9 s each, target 60 s: need 62; cap 15; 1 running, 4 pending, 2 leaving; "
        "launched 6, refused 5: budget"
    )
    assert entry(
        done=(Drain(("i-1",)), Drain(("i-2",), "silent"), Terminate(("i-3", "i-4"), "stopped"))
    ).sentence() == (
        "backlog 412, 9 s each, target 60 s: need 62; cap 15; 1 running, 4 pending, 2 leaving; "
        "asked 1 to leave, asked 1 to leave (silent), terminated 2 (stopped)"
    )


def test_what_is_new_is_told_once() -> None:
    quiet = entry(done=())
    assert not quiet.same_as(None)
    assert quiet.same_as(quiet)
    assert not entry().same_as(quiet)
    assert quiet.same_as(entry())
    same_refusal = [entry(done=(), refused=(Refusal(5, f"budget 10: {hours} h"),)) for hours in (3, 2)]
    assert same_refusal[1].same_as(same_refusal[0])
    assert not same_refusal[0].same_as(quiet)
    for changed in (
        {"token": 2},
        {"decision": Decision(14, "x")},
        {"observation": replace(quiet.observation, depth=Depth(400, 13, 0))},
        {"observation": replace(quiet.observation, instances=quiet.observation.instances[1:])},
        {"refused": (Refusal(4, "budget"),)},
    ):
        assert not replace(quiet, **changed).same_as(quiet), changed


def test_an_entry_in_json() -> None:
    told = json.loads(json.dumps(entry(spent=Spent(5.0, 1.25, 3), refused=(Refusal(1, "cap"),), token=7).to_dict()))
    assert told["spent"] == {"at": 5.0, "amount": 1.25, "machines": 3}
    assert told["refused"] == [{"count": 1, "why": "cap"}]
    assert (told["at"], told["in_flight"], told["delayed"], told["machines"]) == (1000.0, 12, 0, 7)
    assert (told["reason"], told["token"]) == ("9 s each, target 60 s: need 62; cap 15", 7)
    assert (told["service_seconds"], told["boot_seconds"], told["oldest_seconds"]) == (1.0, 30.0, 0.0)
    assert entry().to_dict()["spent"] is None


def test_the_ledger_is_bounded_and_survives_a_torn_line(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledgers, "MAX_BYTES", 4000)
    for _ in range(40):
        world.send(1)
        world.tick(work=False)
    path = world.ledger_path
    assert path.stat().st_size < 6000
    assert path.with_name("ledger.jsonl.1").stat().st_size < 6000
    kept = list(read(path))
    assert len(kept) >= 4
    assert [one["at"] for one in kept] == sorted(one["at"] for one in kept)
    with path.open("a") as file:
        file.write('{"cut short')
    assert list(read(path)) == kept
    assert Ledger(path).last() == kept[-1]
    assert list(read(path.with_name("none"))) == []


def test_the_ledger_is_kept_across_restarts(world: FleetWorld) -> None:
    world.send(1)
    world.tick()
    world.start()
    world.tick(20)
    told = [one["sentence"] for one in read(world.ledger_path)]
    assert "launched 1" in told[0]
    assert any("asked 1 to leave" in one for one in told)
