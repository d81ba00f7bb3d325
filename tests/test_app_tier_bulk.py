"""The slow lane of a worker, on the cloud in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from app_tier.shards.lane import BulkLane
from runs.handling import Handling
from runs.lists.reading import KEYS
from runs.orders import LabelShard, ListOn
from runs.records import RunRecords, state_of
from runs.rows import CHANGED, GONE, BulkRow, Picture
from runs.run import Run
from runs.steering import Steering
from shoal.buckets import suspects
from shoal.clock import SystemClock
from shoal.lifecycle import StopSignal
from shoal.memory import memory_cloud
from shoal.messages import new_batch
from shoal.ports import Cloud
from tests.app_tier_fixtures import NamingRecogniser, suspects_of, wait_for


def a_run(cloud: Cloud, **photos: bytes) -> Run:
    for name, body in photos.items():
        cloud.buckets["photos"].put(f"in/{name}", body, "image/jpeg")
    return Run(new_batch(1_700_000_000.0), "s3://photos/in/", "photos", "in/", shard_images=5)


@contextmanager
def lane_of(cloud: Cloud, recogniser: NamingRecogniser, people: list[int] | None = None) -> Iterator[BulkLane]:
    waiting = people if people is not None else [0]
    with StopSignal() as stop:
        lane = BulkLane(cloud, recogniser, suspects_of(cloud, recogniser), lambda: waiting[0], stop, 30)
        with lane:
            try:
                yield lane
            finally:
                stop.stop("the test ends")


def rows(cloud: Cloud, run: Run) -> dict[str, BulkRow]:
    found = [
        BulkRow.from_line(line)
        for one in cloud.outputs.list(f"runs/{run.id}/labels/labels-")
        for line in cloud.outputs.get(one.key).splitlines()
    ]
    assert len({row.entry.key for row in found}) == len(found)
    return {row.entry.key.removeprefix("in/"): row for row in found}


def done(cloud: Cloud, run: Run) -> None:
    wait_for(lambda: state_of(RunRecords(cloud.outputs), run.id)[0] == "done")


def test_a_run_is_labelled_and_what_is_bad_is_a_row_with_a_reason() -> None:
    cloud, recogniser = memory_cloud(SystemClock()), NamingRecogniser()
    run = a_run(cloud, cat=b"cat", dog=b"dog", bad=b"bad", broken=b"broken", blurred=b"blurred", poison=b"poison")
    Steering(cloud).start(run)
    with lane_of(cloud, recogniser) as lane:
        done(cloud, run)
        wait_for(lambda: cloud.bulk.depth().total == 0)
        assert (lane.finished, lane.in_work) == (6, 0)
    found = rows(cloud, run)
    assert {name: row.result.label for name, row in found.items()} == {
        "cat": "cat", "dog": "dog", "blurred": "blurred", "bad": "", "broken": "", "poison": "",
    }  # fmt: skip
    assert found["bad"].result.error == "this is not an image"
    assert found["broken"].result.error == found["poison"].result.error == suspects.GIVEN_UP
    assert found["blurred"].result.warnings == ("blurred",)
    assert found["cat"].entry.etag == next(iter(cloud.buckets["photos"].list("in/cat"))).etag
    assert (found["cat"].result.model, found["cat"].result.engine) == ("resnet50", "test")
    assert (found["cat"].picture, found["bad"].picture) == (Picture(1, 1), Picture())


def test_a_line_of_a_list_that_is_not_understood_is_a_failed_row_and_a_key_may_be_in_another_bucket() -> None:
    cloud = memory_cloud(SystemClock())
    run = a_run(cloud, cat=b"cat")
    cloud.buckets["others"].put("dog", b"dog", "image/jpeg")
    cloud.buckets["lists"].put("all.txt", b"in/cat\ns3://\ns3://others/dog\n", "text/plain")
    Steering(cloud).start(replace(run, list_kind=KEYS, list_at="s3://lists/all.txt"))
    with lane_of(cloud, NamingRecogniser()):
        done(cloud, run)
    found = rows(cloud, run)
    assert [found[name].result.label for name in ("cat", "dog", "s3://")] == ["cat", "dog", ""]
    assert found["s3://"].result.error.startswith("this line of the list is not understood: ")


def test_what_was_deleted_or_overwritten_after_it_was_listed_is_a_failed_row() -> None:
    cloud = memory_cloud(SystemClock())
    run = a_run(cloud, kept=b"kept", gone=b"gone", changed=b"changed")
    steering = Steering(cloud)
    steering.start(run)
    photos = cloud.buckets["photos"]
    recogniser = NamingRecogniser()
    steering.pause(run.id)
    steering.resume(run.id)  # its messages come twice: that does no harm
    Handling(cloud, lambda *_: None).handle(ListOn(run.id, 0))
    photos.put("in/changed", b"other", "image/jpeg")
    del photos._objects["in/gone"]  # type: ignore[attr-defined]
    with lane_of(cloud, recogniser):
        done(cloud, run)
    assert {name: row.result.error for name, row in rows(cloud, run).items()} == {
        "kept": "", "gone": GONE, "changed": CHANGED,
    }  # fmt: skip


def test_people_go_first_and_a_pause_holds_at_once() -> None:
    cloud, recogniser = memory_cloud(SystemClock()), NamingRecogniser()
    run = a_run(cloud, **{f"{number:02d}": b"x" for number in range(5)})
    steering = Steering(cloud)
    steering.start(run)
    people = [0]
    recogniser.gate.clear()
    with lane_of(cloud, recogniser, people) as lane:
        wait_for(lambda: recogniser.called)
        assert lane.in_work == 5
        assert lane.calls.in_progress == 1  # of the engine: the stall watch sees it
        people[0] = 1
        recogniser.gate.set()
        wait_for(lambda: recogniser.batches)
        wait_for(lambda: lane.calls.in_progress == 0)  # the wait for people is no stall
        calls = len(recogniser.batches)
        steering.pause(run.id, "enough")
        people[0] = 0
        wait_for(lambda: lane.in_work == 0)
        assert len(recogniser.batches) <= calls + 1
        wait_for(lambda: cloud.bulk.depth().total == 0)


def test_a_worker_that_leaves_gives_its_shard_back_at_once() -> None:
    cloud, recogniser = memory_cloud(SystemClock(), 600), NamingRecogniser()
    run = a_run(cloud, **{f"{number:02d}": b"x" for number in range(40)})
    Steering(cloud).start(run)
    recogniser.gate.clear()
    with StopSignal() as stop:
        with BulkLane(cloud, recogniser, suspects_of(cloud, recogniser), lambda: 0, stop, 600):
            wait_for(lambda: recogniser.called)
            stop.stop("a drain")
            recogniser.gate.set()
        assert cloud.bulk.depth().in_flight == 0
    with lane_of(cloud, recogniser):
        done(cloud, run)
    assert len(rows(cloud, run)) == 40


def test_a_photo_that_ended_a_worker_is_tried_alone() -> None:
    cloud, recogniser = memory_cloud(SystemClock(), 1), NamingRecogniser()
    run = a_run(cloud, bomb=b"bomb", cat=b"cat")
    key = f"{run.id}/00000/bomb"
    suspects.count(cloud.outputs, key)
    Steering(cloud).start(run)
    cloud.bulk.receive(1, 1)
    wait_for(lambda: cloud.bulk.depth().visible)
    Handling(cloud, lambda *_: None).handle(ListOn(run.id, 0))
    for _ in range(2):
        cloud.bulk.receive(10, 1)
    wait_for(lambda: cloud.bulk.depth().visible)
    with lane_of(cloud, recogniser):
        done(cloud, run)
    assert recogniser.alone == [key]
    assert {name: row.result.label for name, row in rows(cloud, run).items()} == {"bomb": "bomb", "cat": "cat"}


def test_a_run_that_cannot_be_done_pauses_and_says_why() -> None:
    cloud = memory_cloud(SystemClock())
    run = Run(new_batch(1.0), "s3://photos", "photos", "", model="of-nobody")
    cloud.buckets["photos"].put("a.jpg", b"a", "image/jpeg")
    Steering(cloud).start(run)
    cloud.bulk.send(["no message of ours", LabelShard(new_batch(2.0), 7).to_json()])
    threads = threading.active_count()
    with lane_of(cloud, NamingRecogniser()):
        wait_for(lambda: state_of(RunRecords(cloud.outputs), run.id)[0] == "paused")
        wait_for(lambda: cloud.bulk.depth().total == 0)
    assert state_of(RunRecords(cloud.outputs), run.id)[1] == "this Shoal does not serve the model 'of-nobody'"
    assert threading.active_count() <= threads
