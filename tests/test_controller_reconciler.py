"""The tick and the intents, on the cloud in memory with a clock turned by hand."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.fleet import FleetWorld
from controller.budget import Budget
from controller.ledger import Ledger
from controller.plan import Terminate
from controller.policies import deadline
from controller.policy import Decision, Intent, Limits, Observation, Terms
from controller.rules import boot_file as render
from controller.sightings import LOOK_AGAIN_SECONDS
from shoal.errors import LeaseLost, Permanent, Retryable
from shoal.ledger import Refusal
from shoal.ledger_file import read
from shoal.ports import Beat, Instance, InstancePool

QUIET = 10.0


@pytest.fixture
def world(tmp_path: Path) -> FleetWorld:
    return FleetWorld(tmp_path)


def sentences(world: FleetWorld) -> list[str]:
    return [entry.sentence for entry in read(world.ledger_path)]


def test_the_pool_goes_from_0_to_15_to_0(world: FleetWorld) -> None:
    world.tick()
    assert world.machines == []
    world.send(100)
    world.tick(work=False)
    assert [one.name for one in world.machines] == [f"app-tier-instance-{n}" for n in range(1, 16)]
    world.tick(5, work=False)
    assert len(world.machines) == 15
    world.tick(7)
    assert world.queue.depth().total == 0
    world.tick(int(QUIET) - 1)
    assert world.leaving == []
    world.tick(3)
    assert world.machines == []
    assert sum(len(act.machines) for one in read(world.ledger_path) for act in one.done if act.kind == "drain") == 15
    assert world.fleet.killed_busy == []


def test_a_policy_that_breaks_leaves_the_pool_as_it_is_and_is_told(
    world: FleetWorld, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(observation: Observation, _terms: Terms) -> Decision:
        if observation.depth.total == 7:
            raise ZeroDivisionError("seven")
        return Decision(observation.depth.total, "one each")

    world.use(policy=breaks)
    world.send(2)
    world.tick(2, work=False)
    world.send(5)
    world.tick(3, work=False)
    assert len(world.machines) == 2
    entry = list(read(world.ledger_path))[-1]
    assert "the policy breaks (ZeroDivisionError: seven)" in entry.sentence
    assert "the policy breaks" in entry.hindrance
    assert [one.levelname for one in caplog.records if "the policy breaks" in one.message].count("WARNING") == 1
    world.send(1)
    world.tick(2, work=False)
    assert len(world.machines) == 8


def test_a_launch_that_does_not_show_up_yet_is_not_repeated(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(5)
    with monkeypatch.context() as blind:
        blind.setattr(world.pool, "describe", list)
        world.tick(5, work=False)
    assert len(world.machines) == 5
    world.tick()
    assert world.intents.all() == ()


def test_a_launch_that_never_shows_up_is_made_again(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(5)
    with monkeypatch.context() as vain:
        vain.setattr(world.pool, "launch", lambda names, token: [Instance(name, name, "pending", 0) for name in names])
        world.tick(2)
    world.tick(int(world.launch_seconds), work=False)
    assert len(world.machines) == 5


def test_killed_between_intent_and_launch(world: FleetWorld) -> None:
    world.tick()
    world.send(5)
    world.intents.add(Intent("token", tuple("abcde"), world.clock.now()))
    world.start()
    world.tick(3, work=False)
    assert len(world.machines) == 5
    assert {one.launch for one in world.machines} == {"token"}


def test_killed_between_launch_and_answer(world: FleetWorld) -> None:
    world.tick()
    world.send(5)
    world.intents.add(Intent("token", tuple("abcde"), world.clock.now()))
    world.pool.launch(tuple("abcde"), "token")
    world.start()
    world.tick(3, work=False)
    assert len(world.machines) == 5


def test_a_launch_of_long_ago_is_not_asked_for_again(world: FleetWorld) -> None:
    world.tick()
    world.intents.add(Intent("token", tuple("abcde"), world.clock.now()))
    world.clock.wait(world.launch_seconds + 1)
    world.start()
    world.tick(3)
    assert world.machines == []


def test_a_restart_does_not_shrink_the_pool_on_its_first_zero(world: FleetWorld) -> None:
    world.send(3)
    world.tick(2)
    assert world.queue.depth().total == 0
    world.start()
    world.tick(int(QUIET))
    assert world.leaving == []
    assert len(world.machines) == 3
    world.tick(3)
    assert world.machines == []


def fail(error: Exception) -> object:
    def raises(*_: object) -> None:
        raise error

    return raises


def test_an_unreadable_queue_is_not_an_empty_queue(
    world: FleetWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.send(3)
    world.tick()
    with caplog.at_level(logging.INFO):
        with monkeypatch.context() as away:
            away.setattr(world.queue, "depth", fail(Retryable("no route")))
            assert world.tick(60) is None
        assert len(world.machines) == 3
        world.tick()
    assert [record.message for record in caplog.records if "cannot see" in record.message] == [
        "cannot see the queue or the pool; holding everything as it is: no route"
    ]
    assert "can be seen again" in caplog.text


def test_an_unreadable_register_makes_nobody_lost(
    world: FleetWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.use(terms=replace(world.rules.terms, limits=Limits(3, 15, QUIET)))
    world.tick(2)
    with monkeypatch.context() as away:
        away.setattr(world.register, "workers", fail(Retryable("no route")))
        world.tick(200)
    assert caplog.text.count("cannot hear the workers") == 1
    world.tick(100)
    assert [one.id for one in world.machines] == ["i-00000001", "i-00000002", "i-00000003"]
    assert world.leaving == []


def test_workers_of_machines_that_are_gone_are_struck_off(world: FleetWorld) -> None:
    world.register.beat("i-gone", Beat(7))
    world.start(dry_run=True)
    world.tick()
    assert world.register.workers().keys() == {"i-gone"}
    world.start()
    world.send(1)
    world.tick()
    assert world.register.workers().keys() == {"i-00000001"}


def test_what_a_worker_finished_last_counts_though_its_machine_is_gone_by_then(world: FleetWorld) -> None:
    world.send(1)
    world.tick(2, work=False)
    [worker] = world.machines
    world.register.beat(worker.id, Beat(1, 3))
    world.tick(work=False)
    world.register.beat(worker.id, Beat(2, 7, leaving=True))
    world.pool.terminate([worker.id])
    world.tick(work=False)
    assert sum(entry.finished for entry in read(world.ledger_path)) == 7
    assert worker.id not in world.register.workers()


def test_missing_capacity_is_told_and_tried_again(world: FleetWorld) -> None:
    world.pool.capacity = 0
    world.send(3)
    entry = world.tick()
    assert entry is not None
    [refusal] = entry.refused
    assert (refusal.count, "no more than 0 instances" in refusal.why) == (3, True)
    assert world.intents.all() == ()
    world.tick(9)
    assert len(sentences(world)) == 1  # the same refusal again and again is one line
    world.pool.capacity = 2
    entry = world.tick(work=False)
    assert entry is not None
    assert "launched 2, refused 1: this cloud has no more than 2 instances to give" in entry.sentence()
    world.pool.capacity = 9
    world.tick(work=False)
    assert len(world.machines) == 3


def test_an_unclear_launch_counts_until_its_time_is_over(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(3)
    calls = []

    def times_out(names: tuple[str, ...], token: str) -> list[Instance]:
        calls.append(token)
        raise Retryable("timed out")

    with monkeypatch.context() as unclear:
        unclear.setattr(world.pool, "launch", times_out)
        entry = world.tick()
        assert entry is not None
        assert entry.refused == (Refusal(3, "unclear until it shows up: timed out"),)
        world.tick(int(world.launch_seconds) - 2)
    assert len(calls) == 1
    world.tick(3, work=False)
    assert len(world.machines) == 3


def test_a_refused_drain_is_told(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.send(1)
    world.tick(2)
    monkeypatch.setattr(world.pool, "drain", fail(Permanent("not allowed")))
    world.tick(int(QUIET) + 2)
    assert sentences(world)[-1].endswith("refused 1: not allowed")


def test_nothing_is_done_without_the_lease(world: FleetWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at right before each act: without the checks in `_act` and `_launch` five are launched."""
    world.tick()
    world.send(5)
    hold = world.controller._hold
    with monkeypatch.context() as lost:
        answers = iter([True])  # held when the tick began
        lost.setattr(hold, "held", lambda: next(answers, False))
        lost.setattr(hold, "attend", lambda: None)
        entry = world.tick(work=False)
        assert entry is not None
        assert entry.done == ()
        assert [one.count for one in entry.refused] == [5]
        assert "the lease ran out" in entry.refused[0].why
        assert world.tick() is None
    assert world.machines == []
    with monkeypatch.context() as lost:
        lost.setattr(world.controller._intents, "add", fail(LeaseLost("token 1 is old")))
        world.tick()
        assert world.machines == []
    world.tick(work=False)
    assert len(world.machines) == 5
    monkeypatch.setattr(hold, "held", lambda: False)
    act, refusal = world.controller._act(Terminate(("i-00000001",), "x"))
    assert (act, refusal is not None) == (None, True)
    assert len(world.machines) == 5


def test_a_set_clock_makes_nobody_late(world: FleetWorld, caplog: pytest.LogCaptureFixture) -> None:
    """Without the fresh start, an hour's jump makes every worker silent and all quiet times over."""
    steady = world.clock.now
    world.use(terms=replace(world.rules.terms, limits=Limits(2, 15, QUIET)))
    world.controller._steady = lambda: steady() - jumped[0]
    jumped = [0.0]
    world.tick(3)
    jumped[0] = 3600.0
    world.clock.wait(3600)
    world.tick(30)
    assert "the clock was set by +3600 s" in caplog.text
    assert [one.id for one in world.machines] == ["i-00000001", "i-00000002"]
    assert world.leaving == []
    jumped[0] += 4
    world.clock.wait(4)
    world.tick()
    assert caplog.text.count("the clock was set") == 1


def test_other_rules_hold_from_the_next_tick_on(world: FleetWorld) -> None:
    world.send(100)
    world.tick(work=False)
    world.use(terms=replace(world.rules.terms, limits=Limits(0, 5, QUIET)))
    world.tick(work=False)
    assert len(world.leaving) == 10


def test_a_dry_run_decides_and_does_nothing(world: FleetWorld) -> None:
    world.start(dry_run=True)
    world.send(100)
    world.tick(3)
    assert world.machines == []
    entries = list(read(world.ledger_path))
    assert entries[0].dry_run
    assert entries[0].sentence == "dry run: backlog 100, one each: need 100; cap 15; would have launched 15"
    assert world.cloud.lease.take("two", 10) is not None  # it took no lease
    assert Ledger(world.ledger_path).last() is None


def test_the_default_policy_from_nothing_and_back(tmp_path: Path) -> None:
    world = FleetWorld(tmp_path, deadline.policy, service_seconds=0.5, boot_seconds=5.0)
    world.send(600)
    world.tick(1)
    launched = len(world.machines)
    assert 5 <= launched < 15
    world.tick(60)
    assert world.fleet.finished == 600
    assert max(entry.machines for entry in read(world.ledger_path)) < 15
    world.tick(30)
    assert world.machines == []
    assert world.fleet.killed_busy == []
    # What it measured is what there is, and the next controller begins with it.
    last = Ledger(world.ledger_path).last()
    assert last is not None
    assert last.service_seconds == pytest.approx(0.5, rel=0.1)
    assert last.boot_seconds == pytest.approx(5, abs=1.1)


def test_a_handful_of_photos_gets_one_worker(tmp_path: Path) -> None:
    world = FleetWorld(tmp_path, deadline.policy, service_seconds=0.2, boot_seconds=3.0)
    world.send(8)
    world.tick(30)
    assert world.fleet.finished == 8
    assert max(entry.machines for entry in read(world.ledger_path)) == 1
    assert world.machines == []


def test_the_budget_cuts_the_launch_and_says_so(tmp_path: Path) -> None:
    # Ten an hour at one each: whatever the minute, ten machines at most until the hour's end.
    world = FleetWorld(tmp_path, budget=Budget(10, "hour", 1.0))
    world.clock.wait(-(world.clock.now() % 3600))
    world.start()
    world.send(100)
    entry = world.tick(work=False)
    assert entry is not None
    assert len(world.machines) == 10
    assert entry.refused[0].count == 5
    assert (
        "launched 10, refused 5: budget $10.00 an hour: one more machine to the end of the hour is $1.00, "
        "nothing is left"
    ) in entry.sentence()
    world.tick(60, work=False)
    assert len(world.machines) == 10
    assert len(sentences(world)) <= 3  # the refusal's figures change, its meaning does not
    # The next life goes on from what the ledger says was spent.
    last = Ledger(world.ledger_path).last()
    assert last is not None
    assert last.spent is not None
    assert last.spent.machines == 10


def test_a_budget_that_is_set_late_counts_from_then_on_with_the_machines_that_run(world: FleetWorld) -> None:
    world.start()
    world.use(terms=replace(world.rules.terms, limits=Limits(2, 15, QUIET)))
    world.tick(5)
    late = world.clock.now()
    assert len(world.machines) == 2
    world.use(budget=Budget(5, "month", 3600.0))
    assert "2 running to then cost" in world.controller.use(world.rules)  # before the next tick
    world.tick(3)
    entry = Ledger(world.ledger_path).last()
    assert entry is not None
    assert entry.spent is not None
    assert entry.spent.since == pytest.approx(late, abs=1)
    assert 0 < entry.spent.amount <= 2 * (entry.spent.at - entry.spent.since)


def test_an_idle_night_is_one_line(world: FleetWorld) -> None:
    world.tick(1000)
    assert len(sentences(world)) == 1


def test_a_lost_worker_gets_a_mark_where_others_get_messages(world: FleetWorld) -> None:
    """A message would be read by a worker that is well."""
    asked: list[tuple[str, ...]] = []
    world.controller._cloud = replace(world.cloud, pool=Asking(world.cloud.pool, asked))
    world.use(terms=replace(world.rules.terms, limits=Limits(2, 15, QUIET)))
    world.tick(2)
    lost, well = (one.id for one in world.machines)
    world.fleet.workers[lost].mute = True
    world.tick(int(world.rules.patience.silent + LOOK_AGAIN_SECONDS) + 3)
    assert asked == []
    assert lost not in {one.id for one in world.machines}
    assert well in {one.id for one in world.machines}
    world.use(terms=replace(world.rules.terms, limits=Limits(0, 15, 0.0, 0.0)))
    world.tick()
    assert [len(ids) for ids in asked] == [2]


class Asking:
    """A pool that asks by messages: it only notes whom."""

    def __init__(self, pool: InstancePool, asked: list[tuple[str, ...]]) -> None:
        self.describe, self.launch, self.token, self.terminate = pool.describe, pool.launch, pool.token, pool.terminate
        self._asked = asked

    def drain(self, ids: Sequence[str]) -> None:
        self._asked.append(tuple(ids))


def test_the_boot_file_carries_the_settings_safely() -> None:
    text = render({"SHOAL_PREFIX": "a b'; rm -rf /", "SHOAL_MODEL": "resnet50"})
    assert "#!/bin/bash" in text.splitlines()[:2]  # cloud-init's own word may stand before it
    assert "SHOAL_MODEL=resnet50\n" in text
    assert "SHOAL_PREFIX='a b'\"'\"'; rm -rf /'\n" in text
    assert len(text.encode()) < 16_384  # EC2's limit for user data
