"""What the ledger keeps of each tick, in words and numbers, and for how long."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleet import FleetWorker, FleetWorld
from benchmarks.running.small_disk import small_disk
from controller import ledger as ledgers
from controller.ledger import Ledger, Tick
from controller.plan import Drain, Launch, Terminate
from controller.policies import deadline
from controller.policy import Decision, Intent, Limits, Measured, Observation
from controller.tally import WRITE_OFF_SECONDS, Tally
from shoal.errors import MalformedMessage, Retryable
from shoal.ledger import DoneAct, Entry, PoolCounts, PoolRate, Refusal, Spent, machines_between
from shoal.ledger_file import Follower, read
from shoal.ports import Beat, Depth, Instance


@pytest.fixture
def world(tmp_path: Path) -> FleetWorld:
    return FleetWorld(tmp_path)


def test_the_ledger_explains_in_words_and_numbers(world: FleetWorld) -> None:
    world.send(100)
    world.tick(2, work=False)
    first, second = read(world.ledger_path)
    assert first.sentence == "backlog 100, one each: need 100; cap 15; launched 15"
    assert (first.visible, first.desired, first.machines) == (100, 15, 0)
    assert first.done == (DoneAct("launch", tuple(f"app-tier-instance-{n}" for n in range(1, 16))),)
    assert first.token > 0
    assert not first.dry_run
    assert second.sentence == "backlog 100, one each: need 100; cap 15; 15 running; desired 15, nothing to do"
    assert second.pool == PoolCounts(running=15)


def tick(**changes: object) -> Tick:
    machines = (
        Instance("i-1", "n", "running", 0.0),
        Instance("i-2", "n", "pending", 0.0),
        Instance("i-3", "n", "running", 0.0, drain_since=1.0),
        Instance("i-4", "n", "stopped", 0.0),
    )
    seen = Observation(1000.0, Depth(400, 12, 0), machines, (Intent("t", ("a", "b", "c"), 1.0),))
    whole = Tick(seen, Decision(15, "9 s each, target 60 s: need 62; cap 15"), (Launch(tuple("abcdef")),))
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_the_sentence_of_the_issue() -> None:
    assert tick(refused=(Refusal(5, "budget"),)).sentence() == (
        "backlog 412, 9 s each, target 60 s: need 62; cap 15; 1 running, 4 pending, 2 leaving; "
        "launched 6, refused 5: budget"
    )
    assert tick(done=(Drain(("i-1",)), Drain(("i-2",), "silent"), Terminate(("i-3", "i-4"), "stopped"))).sentence() == (
        "backlog 412, 9 s each, target 60 s: need 62; cap 15; 1 running, 4 pending, 2 leaving; "
        "asked 1 to leave, asked 1 to leave (silent), terminated 2 (stopped)"
    )


def test_what_is_new_is_told_once() -> None:
    quiet = tick(done=())
    assert not quiet.same_as(None)
    assert quiet.same_as(quiet)
    assert not tick().same_as(quiet)
    assert quiet.same_as(tick())
    same_refusal = [tick(done=(), refused=(Refusal(5, f"budget 10: {hours} h"),)) for hours in (3, 2)]
    assert same_refusal[1].same_as(same_refusal[0])
    assert not same_refusal[0].same_as(quiet)
    for changed in (
        {"token": 2},
        {"decision": Decision(14, "x")},
        {"observation": replace(quiet.observation, depth=Depth(400, 13, 0))},
        {"observation": replace(quiet.observation, instances=quiet.observation.instances[1:])},
        {"refused": (Refusal(4, "budget"),)},
        {"no_launch": "budget $0.05 a day: nothing is left"},
    ):
        assert not replace(quiet, **changed).same_as(quiet), changed


def test_photos_of_bulk_runs_are_written_every_few_seconds_and_told_to_nobody(tmp_path: Path) -> None:
    ledger, quiet = Ledger(tmp_path / "ledger.jsonl", emulated=True), tick(done=())
    assert ledger.record(quiet)
    for second in range(1, 10):
        measured = replace(quiet.observation.measured, tally=Tally(bulk_finished=10 * min(second, 7)))
        seen = replace(quiet.observation, now=1000.0 + second, measured=measured)
        assert ledger.record(replace(quiet, observation=seen)) == ""
    written = [(one.at, one.bulk_finished) for one in read(tmp_path / "ledger.jsonl")]
    assert written == [(1000.0, 0), (1004.0, 40), (1008.0, 30)]
    assert all(one.emulated for one in read(tmp_path / "ledger.jsonl"))


def test_an_entry_in_json() -> None:
    whole = tick(spent=Spent(5.0, 1.25, 3, 2.0), refused=(Refusal(1, "cap"),), token=7)
    told = json.loads(whole.entry(Tally()).to_json())
    assert told["spent"] == {"at": 5.0, "amount": 1.25, "machines": 3, "since": 2.0}
    assert told["refused"] == [{"count": 1, "why": "cap"}]
    assert (told["at"], told["in_flight"], told["delayed"], told["machines"]) == (1000.0, 12, 0, 7)
    assert (told["reason"], told["token"]) == ("9 s each, target 60 s: need 62; cap 15", 7)
    assert (told["service_seconds"], told["boot_seconds"], told["oldest_seconds"]) == (1.0, 30.0, 0.0)
    assert tick().entry(Tally()).spent is None
    assert tick(no_launch="why").entry(Tally()).no_launch == "why"
    acts = (Launch(("a",)), Drain(("i-1",), "silent"), Terminate(("i-2", "i-3"), "stopped"))
    ended = DoneAct("terminate", ("i-2", "i-3"), "stopped")
    assert tick(done=acts).entry(Tally()).done == (
        DoneAct("launch", ("a",)),
        DoneAct("drain", ("i-1",), "silent"),
        ended,
    )


def test_what_hinders_is_told_but_a_full_pool_is_not() -> None:
    full, budget = Refusal.by_cap(3, 15, 0), Refusal(2, "budget $0.05 a day: nothing is left")
    assert tick(refused=(full,)).entry(Tally()).hindrance == ""
    assert tick(refused=(full, budget)).entry(Tally()).hindrance == f"no more workers can start: {budget.why}"
    nothing = Observation(1000.0, Depth(400, 12, 0), ())
    empty = tick(observation=nothing, done=(), refused=(budget,)).entry(Tally())
    assert empty.hindrance == f"no worker can start: {budget.why}"
    standing = replace(nothing, standstill="nothing gets on")
    assert tick(observation=standing, refused=(budget,)).entry(Tally()).hindrance == "nothing gets on"
    assert Entry.from_json(tick(no_launch=budget.why).entry(Tally()).to_json()).no_launch == budget.why


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
    assert [one.at for one in kept] == sorted(one.at for one in kept)
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
    told = [one.sentence for one in read(world.ledger_path)]
    assert "launched 1" in told[0]
    assert any("asked 1 to leave" in one for one in told)


def test_the_end_of_a_controller_and_the_start_of_the_next_are_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    Ledger(path).end(900.0, "SIGTERM")
    assert list(read(path)) == []  # it did nothing
    first = Ledger(path)
    first.record(tick())
    first.record(tick(done=(Launch(("a", "b")), Drain(("i-1",)))))
    first.end(1010.5, "SIGTERM")
    second = Ledger(path)
    second.record(tick())
    begun, acted, ended, again = read(path)
    assert [(one.begins, one.ends) for one in (begun, acted, ended, again)] == [
        (True, False), (False, False), (False, True), (True, False),
    ]  # fmt: skip
    assert ended.sentence == "controller stopped (SIGTERM); the pool stays as it is"
    assert (ended.at, ended.machines, ended.done, ended.finished) == (1010.5, acted.machines + 2, (), 0)
    assert machines_between(acted, ended) == acted.machines + 2
    assert machines_between(ended, again) == again.machines
    assert (machines_between(ended, None), machines_between(again, None)) == (0, again.machines_after)


# entries


texts = st.text(max_size=30)
counts = st.integers(0, 10**6)
seconds = st.floats(0, 1e9, allow_nan=False)
acts = st.one_of(
    st.builds(DoneAct, st.just("launch"), st.lists(texts).map(tuple)),
    st.builds(DoneAct, st.sampled_from(("drain", "terminate")), st.lists(texts).map(tuple), texts),
)
entries = st.builds(
    Entry,
    *(seconds, texts, counts, counts, counts, counts, counts, texts, counts, counts, counts, counts),
    *(seconds, seconds, seconds, seconds, st.builds(PoolCounts, counts, counts, counts, counts)),
    *(st.lists(acts).map(tuple), st.lists(st.builds(Refusal, counts, texts)).map(tuple)),
    *(st.none() | st.builds(Spent, seconds, seconds, counts), counts, st.booleans()),
    *(
        texts,
        seconds,
        st.lists(st.builds(PoolRate, st.integers(1, 99), st.floats(0.1, 1e6), seconds, counts)).map(tuple),
        *(texts, st.booleans(), st.booleans(), counts),
    ),
)


@given(entries)
@settings(max_examples=30)
def test_an_entry_comes_back_from_its_line_as_it_was(entry: Entry) -> None:
    assert Entry.from_json(entry.to_json()) == entry
    assert Entry.from_dict(entry.to_dict()) == entry


def test_a_line_of_an_older_version_has_no_counts(tmp_path: Path) -> None:
    old = {"at": 1.0, "sentence": "s", "visible": 1, "in_flight": 2, "delayed": 3, "machines": 4, "desired": 5}
    assert Entry.from_dict({**old, "finished": 70, "of a later version": 1}) == Entry(1.0, "s", 1, 2, 3, 4, 5)
    assert Entry.from_dict(old).backlog == 6


WHOLE = Entry(1.0, "s", 1, 2, 3, 4, 5)


cut_short = entries.map(lambda entry: entry.to_json()[:-1])


@given(st.text(max_size=60) | cut_short | st.sampled_from(["[1]", "{}", "7", "null"]))
@settings(max_examples=30)
def test_a_broken_line_is_passed_over(broken: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.jsonl"
        path.write_text(f"{WHOLE.to_json()}\n{broken}\n{WHOLE.to_json()}\n")
        assert list(read(path)) == [WHOLE, WHOLE]
        assert Follower(path).news() == [WHOLE, WHOLE]


@pytest.mark.parametrize(
    "change",
    [
        {"at": "noon"}, {"visible": None}, {"done": [{"act": "dance", "ids": []}]}, {"done": [7]},
        {"pool": {"asleep": 1}}, {"refused": [{"count": 1}]}, {"spent": {"amount": 1.0}}, {"finished": []}, {"v": "x"},
    ],
)  # fmt: skip
def test_an_entry_with_a_wrong_field_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage, match="not an entry of a ledger"):
        Entry.from_dict({**WHOLE.to_dict(), **change})


# workers that end although nobody asked them to


def told(world: FleetWorld, words: str) -> int:
    """How many entries say so."""
    return sum(words in entry.sentence for entry in read(world.ledger_path))


def test_a_worker_that_ends_unasked_is_told_once(world: FleetWorld) -> None:
    world.use(terms=replace(world.rules.terms, limits=Limits(3, 15, 10.0)))
    world.tick(3)
    killed, again, _ = (one.id for one in world.machines)
    world.pool.terminate([killed])
    world.tick(3)
    assert told(world, "1 worker was lost") == 1
    world.fleet.workers[again] = FleetWorker()
    world.tick(3)
    assert told(world, "1 worker died and was started again") == 1
    world.fleet.stuck = True
    world.use(terms=replace(world.rules.terms, limits=Limits(4, 15, 10.0)))
    world.tick(3)
    world.pool.terminate([world.machines[-1].id])
    world.tick(3)
    assert told(world, "1 machine ended before its worker came") == 1
    world.register.beat(world.machines[-1].id, Beat(1, restarted=True))
    world.tick(3)
    assert told(world, "1 worker died and was started again") == 2
    assert told(world, "were lost") == 0


def test_workers_that_leave_when_they_are_asked_to_are_not_lost(world: FleetWorld) -> None:
    world.send(100)
    world.tick(40)
    assert world.machines == []
    assert not any(told(world, words) for words in ("lost", "died", "ended before"))


def test_a_controller_that_did_not_look_meanwhile_calls_no_worker_lost(
    world: FleetWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(100)
    world.tick(3, work=False)
    with monkeypatch.context() as away:
        away.setattr(world.pool, "describe", lambda: (_ for _ in ()).throw(Retryable("throttled")))
        world.tick(100, work=False)
    world.pool.terminate([one.id for one in world.machines])
    world.tick(3, work=False)
    assert told(world, "lost") + told(world, "ended before") == 0


# arrivals


events = st.sampled_from(["tick", "restart", "dry run", "unreadable"])
steps_of_a_day = st.lists(st.tuples(st.integers(0, 60), events), min_size=1, max_size=25)


@given(steps_of_a_day, st.sampled_from([0.05, 0.4, 3.0]))
@settings(deadline=None, max_examples=30)
def test_the_arrivals_of_all_entries_are_what_was_submitted(day: list[tuple[int, str]], service_seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = FleetWorld(Path(folder), deadline.policy, service_seconds=service_seconds, boot_seconds=2.0)
        submitted = 0
        for photos, event in day:
            world.send(photos)
            submitted += photos
            _live_through(world, event)
        while world.queue.depth().total or world.machines:
            world.tick(5)
        recorded = [entry for entry in read(world.ledger_path) if not entry.dry_run]
        assert world.fleet.finished == submitted
        assert sum(entry.arrived for entry in recorded) == submitted
        assert sum(entry.finished for entry in recorded) == submitted
        assert all(entry.arrived >= 0 and entry.finished >= 0 for entry in recorded)


def _live_through(world: FleetWorld, event: str) -> None:
    """Some seconds of the controller's life."""
    if event == "dry run":
        world.start(dry_run=True)
        world.tick(3)
    if event == "unreadable":
        with pytest.MonkeyPatch.context() as failing:
            failing.setattr(world.register, "workers", lambda: (_ for _ in ()).throw(Retryable("throttled")))
            world.tick(3)
    if event != "tick":
        world.start()
    world.tick(2)


def test_ticks_that_are_left_out_are_counted_by_the_next_entry() -> None:
    """Photos that come and go between two ticks leave the backlog as it was."""
    tally = Tally().look(0.0, 5, 0, 0).look(1.0, 5, 3, 3).look(2.0, 5, 7, 4)
    assert (tally.arrived, tally.finished, tally.counted) == (5 + 7, 7, 7)
    told = Tally().look(0.0, 5, 0, 0)
    measured = Measured(tally=tally)
    entry = tick(observation=replace(tick().observation, measured=measured)).entry(told)
    assert (entry.arrived, entry.finished, entry.counted) == (7, 7, 7)


def test_what_left_the_queue_before_its_worker_told_is_not_counted_twice() -> None:
    tally = Tally().look(0.0, 10, 0, 0).look(1.0, 4, 0, 0)
    assert (tally.arrived, tally.unseen) == (10, 6)
    told = tally.look(2.0, 4, 6, 6)
    assert (told.arrived, told.finished, told.unseen) == (10, 6, 0)
    both = tally.look(2.0, 8, 3, 3)  # of the six three were told of, and four came
    assert (both.arrived, both.unseen) == (11, 0)


def test_what_stays_unseen_is_written_off() -> None:
    """Purged messages: the arrivals after them count in full."""
    purged = Tally().look(0.0, 1000, 0, 0).look(1.0, 0, 0, 0)
    assert purged.look(WRITE_OFF_SECONDS, 0, 0, 0).unseen == 1000
    later = purged.look(WRITE_OFF_SECONDS + 1, 0, 0, 0)
    assert (later.unseen, later.look(WRITE_OFF_SECONDS + 2, 7, 0, 0).arrived) == (0, 1007)


def test_a_controller_that_starts_again_counts_on_from_its_last_entry() -> None:
    last = Entry(100.0, "s", 4, 1, 0, 1, 1, counted=40, unseen=2)
    before = Tally.after(last)
    tally = before.look(200.0, 8, 45, before.grown_to(45))
    assert (tally.finished, tally.arrived, tally.unseen) == (5, 8 - 5 + 5 - 2, 0)
    gone = before.look(200.0, 5, 3, before.grown_to(3))  # the workers of then were struck off
    assert (gone.finished, gone.arrived, gone.unseen) == (0, 0, 0)


def test_a_full_disk_costs_entries_and_not_the_controller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with small_disk(tmp_path / "disk") as disk:
        ledger = Ledger(disk.path / "ledger.jsonl")
        disk.fill(leave=4096)  # room for the beginning of a line
        ticks = [Tick(Observation(float(at), Depth(at, 0, 0)), Decision(0, "x" * 5000)) for at in range(1, 5)]
        assert all(ledger.record(one) for one in ticks[:3])
        assert caplog.text.count("the ledger cannot be written") == 1
        disk.empty()
        ledger.record(ticks[3])
        lines = (disk.path / "ledger.jsonl").read_text().splitlines()
        assert [Entry.from_json(line).visible for line in lines][-1:] == [4]


def test_another_budget_is_news_and_its_moving_figures_are_not() -> None:
    before = tick(done=(), no_launch="budget $0.05 a day: $0.02 are left")
    assert tick(done=(), no_launch="budget $0.05 a day: $0.01 are left").same_as(before)
    assert not tick(done=(), no_launch="budget $0.10 a day: $0.02 are left").same_as(before)
