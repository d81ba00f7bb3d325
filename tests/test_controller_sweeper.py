"""What the sweeper does with photos that were forgotten, and when a photo counts as forgotten although the queue is
not empty: much later ones were answered already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import sweeper
from controller.sweeper import DAY_SECONDS, HOUR_SECONDS, OVERTAKEN_AFTER, Again, Sweeper, Window, older_than, overtaken
from shoal.buckets import passing_records, suspects
from shoal.buckets.pending_photos import ABANDONED_SECONDS
from shoal.buckets.suspects import GIVEN_UP
from shoal.errors import NotFound
from shoal.memory import ManualClock, MemoryStore, memory_cloud
from shoal.messages import Job, Result, new_batch
from shoal.ports import Cloud, StoredObject

AFTER = 60.0

photos = st.lists(st.builds(StoredObject, st.uuids().map(str), st.just(1), st.floats(0, 1000)), max_size=30)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def accept(cloud: Cloud, clock: ManualClock, queued: bool = True) -> Job:
    """A photo comes in; its message is lost unless it is `queued`."""
    job = Job(new_batch(clock.now()), 0, "cat.jpg", "replies")
    cloud.inputs.put(job.key, b"photo", "image/jpeg")
    if queued:
        cloud.requests.send([job.to_json()])
    return job


def answer(cloud: Cloud, job: Job) -> None:
    cloud.outputs.put(job.key, b"{}", "application/json")


def queued(cloud: Cloud) -> list[Job]:
    """Takes everything out of the queue."""
    found = cloud.requests.receive(10, 0)
    cloud.requests.delete([one.receipt for one in found])
    return [Job.from_json(one.body) for one in found]


def test_a_photo_whose_message_a_busy_queue_lost_is_queued_again(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    sweeper = Sweeper(cloud, clock, "replies", AFTER, days=4)
    lost = accept(cloud, clock, queued=False)
    clock.wait(OVERTAKEN_AFTER * AFTER + 1)
    later, waits = accept(cloud, clock), accept(cloud, clock)
    sweeper.sweep()
    assert queued(cloud) == [later, waits]  # nothing later was answered: the lost one may only wait behind others

    cloud.requests.send([waits.to_json()])
    answer(cloud, later)
    sweeper.sweep()
    assert queued(cloud) == [waits, lost]


def test_a_long_backlog_is_not_queued_twice(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    sweeper = Sweeper(cloud, clock, "replies", AFTER, days=4)
    backlog = [accept(cloud, clock) for _ in range(10)]
    for job in backlog[:5]:
        clock.wait(10 * AFTER)
        answer(cloud, job)
        sweeper.sweep()
    assert cloud.requests.depth().total == 10


def job_at(clock: ManualClock, index: int = 0) -> Job:
    return Job(new_batch(clock.now()), index, "cat.jpg", "replies")


def test_a_forgotten_photo_is_queued_again_when_it_is_old_enough(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    sweeper = Sweeper(cloud, clock, "replies", AFTER, days=4)
    forgotten, answered = job_at(clock, 1), job_at(clock, 2)
    for job in (forgotten, answered):
        cloud.inputs.put(job.key, b"photo", "image/jpeg")
    cloud.outputs.put(answered.key, b"{}", "application/json")
    cloud.inputs.put("not/one/of/ours", b"", "text/plain")
    cloud.inputs.put("readme.txt", b"", "text/plain")

    sweeper.sweep()
    assert cloud.requests.depth().total == 0
    clock.wait(AFTER + 1)
    sweeper.sweep()
    [message] = cloud.requests.receive(10, 0)
    assert Job.from_json(message.body) == forgotten
    sweeper.sweep()
    assert cloud.requests.depth().total == 1  # in flight: not queued a second time


def test_a_dead_letter_becomes_a_failed_result(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    job, done = job_at(clock, 1), job_at(clock, 2)
    result = Result(done.key, "done").to_json().encode()
    cloud.outputs.put(done.key, result, "application/json")
    cloud.dead_letters.send([job.to_json(), done.to_json(), "noise"])
    Sweeper(cloud, clock, "replies", AFTER, days=4).sweep()
    assert Result.from_json(cloud.outputs.get(job.key)) == Result.failed(job.key, GIVEN_UP)
    assert cloud.outputs.get(done.key) == result
    [response] = cloud.responses.receive(10, 0)
    assert Result.from_json(response.body).key == job.key
    assert cloud.dead_letters.depth().total == 0


def test_records_that_are_worth_nothing_any_more_are_removed(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    sweeper = Sweeper(cloud, clock, "replies", AFTER, days=4)
    cloud.outputs.put("idempotency/old", b"{}", "application/json")
    cloud.outputs.put("sessions/old", b"{}", "application/json")
    suspects.count(cloud.outputs, "a photo")
    clock.wait(passing_records.KEPT_SECONDS)
    cloud.outputs.put("sessions/new", b"{}", "application/json")
    clock.wait(1)
    sweeper.sweep()
    assert [one.key for one in cloud.outputs.list("")] == ["sessions/new"]


def test_many_photos_are_listed_seldom_and_the_last_hour_more_often(clock: ManualClock) -> None:
    """A million photos in four days: all of both buckets once a minute would cost $430 a month."""
    hour, whole = Window(HOUR_SECONDS), Window(4 * DAY_SECONDS)
    listed = {hour: 0, whole: 0}
    for _ in range(24 * 60):
        for window, photos in ((whole, 1_000_000), (hour, 10_400)):
            if window.due(clock.now()):
                window.looked(clock.now(), photos, photos)
                listed[window] += 2 * (photos // 1000 + 1)
                break
        clock.wait(60)
    dollars = {window: 30 * pages * 5 / 1e6 for window, pages in listed.items()}
    assert dollars[whole] < 6
    assert dollars[hour] < 5
    assert listed[hour] > 20 * 30  # some thirty looks an hour


def test_few_photos_are_listed_at_every_sweep_and_after_a_change_of_the_clock_too(clock: ManualClock) -> None:
    window = Window(HOUR_SECONDS)
    window.looked(clock.now(), 999, 999)
    assert window.due(clock.now())
    window.looked(clock.now(), 100_000, 0)
    assert not window.due(clock.now())
    assert window.due(clock.now() - 10)


def test_between_two_whole_looks_the_last_hour_is_looked_at(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "PAGE", 1)
    monkeypatch.setattr(sweeper, "PAGE_SECONDS", 600.0)
    cloud = memory_cloud(clock)
    tested = Sweeper(cloud, clock, "replies", AFTER, days=4)
    pending, *lost = [accept(cloud, clock, queued=False) for _ in range(3)]
    cloud.outputs.put(f"pending/{pending.batch}/00000", b'{"last": 9}', "application/json")
    tested.sweep()  # the whole rests for 40 minutes then
    clock.wait(ABANDONED_SECONDS + 1)
    tested.sweep()
    assert {job.key for job in queued(cloud)} == {job.key for job in lost}
    assert cloud.inputs.get(pending.key)  # a mark goes when all its photos were listed
    clock.wait(1500)
    tested.sweep()
    with pytest.raises(NotFound):
        cloud.inputs.get(pending.key)


def test_what_a_queue_lost_is_queued_again_in_tens(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    for index in range(250):
        cloud.inputs.put(job_at(clock, index).key, b"photo", "image/jpeg")
    clock.wait(AFTER + 1)
    Sweeper(cloud, clock, "replies", AFTER, days=4).sweep()
    assert cloud.requests.depth().total == 250


@given(photos, st.data(), st.floats(0, 500))
def test_only_the_unanswered_and_older_are_overtaken(found: list[StoredObject], data: st.DataObject, by: float) -> None:
    keys = [one.key for one in found]
    answered = set(data.draw(st.lists(st.sampled_from(keys), unique=True))) if keys else set()
    lost = set(overtaken(found, answered, by))
    newest = max((one.modified_at for one in found if one.key in answered), default=None)
    assert lost == {
        one.key for one in found if one.key not in answered and newest is not None and one.modified_at < newest - by
    }
    assert lost <= set(older_than(1001.0, found, answered))


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=40))
def test_the_pauses_double(steps: list[float]) -> None:
    again, now, pause, next_due = Again(AFTER), 0.0, AFTER, 0.0
    for step in steps:
        due = again.due(["a"], set(), now)
        assert due == (["a"] if now >= next_due else [])
        if due:
            next_due, pause = now + pause, 2 * pause
        now += step


def test_an_answered_photo_is_forgotten() -> None:
    again = Again(AFTER)
    assert again.due(["a"], set(), 0.0) == ["a"]
    assert again.due(["a"], set(), 1.0) == []
    assert again.due([], {"a"}, 2.0) == []
    assert again.due(["a"], set(), 3.0) == ["a"]  # its result was dropped, it is labelled anew


def test_the_many_objects_of_bulk_runs_are_not_listed(clock: ManualClock) -> None:
    cloud = memory_cloud(clock)
    read: list[str] = []

    class Noting(MemoryStore):
        def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
            for one in super().list(prefix, after, most):
                read.append(one.key)
                yield one

    outputs = Noting(clock)
    for number in range(100):
        outputs.put(f"runs/{new_batch(clock.now())}/results/{number:08d}.jsonl", b"", "")
    Sweeper(replace(cloud, outputs=outputs), clock, "replies", AFTER, days=4).queue_forgotten()
    assert len(read) == 1
