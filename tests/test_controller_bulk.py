"""How many workers bulk runs get, and who leaves first."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fleet import FleetWorld
from controller.policy import BulkNeed, Decision, for_bulk
from controller.slow_lane.bulk_sweep import EMPTY_SECONDS, LOOK_SECONDS, BulkSweep
from controller.slow_lane.bulk_watch import BulkWatch, need_of
from runs.orders import Finish, ListOn
from runs.records import RunRecords
from runs.run import Run, run_key
from runs.steering import Steering
from shoal.errors import NotFound, Retryable
from shoal.memory import ManualClock, memory_cloud
from shoal.messages import new_batch
from shoal.ports import Cloud, Depth


def test_a_worker_gets_ten_minutes_of_work_or_the_deadline_says() -> None:
    assert need_of(Depth(0, 0, 0), 600) == BulkNeed()
    assert need_of(Depth(1, 0, 0), 600) == BulkNeed(1, "1 for 1 shard of bulk runs, 0 of them in work")
    assert need_of(Depth(300, 0, 0), 600).workers == 10
    assert need_of(Depth(300, 0, 0), 3600).workers == 2
    assert need_of(Depth(0, 7, 0), 600).workers == 7  # each of them has a shard that would be done again
    assert need_of(Depth(3, 0, 0), -5).workers == 1
    assert need_of(Depth(300, 0, 0), -5).workers == 100


def test_people_and_runs_share_one_pool() -> None:
    assert for_bulk(Decision(3, "people"), BulkNeed(2, "runs")) == Decision(3, "people")
    assert for_bulk(Decision(1, "people"), BulkNeed(2, "runs")) == Decision(2, "people; runs")


def test_it_sees_the_first_deadline_of_the_runs_in_work_and_holds_when_it_sees_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    watch, steering = BulkWatch(cloud), Steering(cloud)
    assert watch.need(clock.now()) == BulkNeed()
    cloud.bulk.send(["x"] * 300)
    assert watch.need(clock.now()).workers == 10
    for left in (6000.0, 1200.0, 60.0):
        run = Run(new_batch(clock.now()), "s3://p", "p", "", deadline=clock.now() + left)
        steering.start(run)
    steering.pause(run.id)
    assert watch.need(clock.now()).workers == 11  # it looks at the deadlines now and then
    clock.wait(60)
    assert watch.need(clock.now()).workers == 6
    last = watch.need(clock.now())

    def away() -> Depth:
        raise Retryable("away")

    def gone() -> Depth:
        raise NotFound("gone")

    monkeypatch.setattr(cloud.bulk, "depth", away)
    assert watch.need(clock.now()) == last
    monkeypatch.setattr(cloud.bulk, "depth", gone)
    assert watch.need(clock.now()) == BulkNeed()
    assert len(list(RunRecords(cloud.outputs).ids())) == 3


def test_the_pool_grows_for_a_run_and_goes_when_it_is_done(tmp_path: Path) -> None:
    world = FleetWorld(tmp_path)
    world.controller._bulk = BulkWatch(world.cloud).need
    world.cloud.bulk.send(["a shard"] * 70)
    world.tick(3)
    assert len(world.machines) == 3
    while received := world.cloud.bulk.receive(10, 0):
        world.cloud.bulk.delete([one.receipt for one in received])
    world.tick(30)
    assert world.machines == []


def test_a_run_whose_messages_were_lost_goes_on() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    run = Run(new_batch(clock.now()), "s3://p", "p", "")
    Steering(cloud).records.add(run)  # its client dies here, before it sends the first message
    paused = Run(new_batch(clock.now()), "s3://p", "p", "")
    Steering(cloud).start(paused)
    Steering(cloud).pause(paused.id)
    drain(cloud)
    sweep = BulkSweep(cloud, clock)

    def sent(seconds: float) -> int:
        clock.wait(seconds)
        sweep.sweep()
        return len(drain(cloud))

    assert sent(0) == 1  # of the run alone: nobody wants the paused one to go on
    assert sent(EMPTY_SECONDS) == 0
    cloud.bulk.send(["a message"])
    sweep.sweep()
    drain(cloud)
    assert [sent(EMPTY_SECONDS), sent(EMPTY_SECONDS)] == [0, 1]  # what did not help at once waits twice as long
    Steering(cloud).cancel(run.id)
    assert drain(cloud) == [Finish(run.id).to_json()]  # and it is lost
    clock.wait(LOOK_SECONDS)
    sweep.sweep()
    assert drain(cloud) == [Finish(run.id).to_json()]
    RunRecords(cloud.outputs).set_summary(run.id, {"state": "cancelled"})
    assert sent(LOOK_SECONDS) == 0


def test_a_run_that_cannot_be_read_is_passed_over_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    broken, whole = new_batch(clock.now()), Run(new_batch(clock.now() + 1), "s3://p", "p", "")
    cloud.outputs.put(run_key(broken), b"{", "application/json")
    Steering(cloud).records.add(whole)
    BulkSweep(cloud, clock).sweep()
    assert [ListOn(whole.id, 0).to_json()] == drain(cloud)
    assert f"the bulk run {broken} is passed over" in caplog.text


def drain(cloud: Cloud) -> list[str]:
    received = cloud.bulk.receive(10, 0)
    cloud.bulk.delete([one.receipt for one in received])
    return [one.body for one in received]
