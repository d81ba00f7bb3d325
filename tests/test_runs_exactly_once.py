"""Every key of a bucket is in the results once, however often messages come and wherever workers are killed."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runs.handling import Handling, Labelled
from runs.listing import Step
from runs.manifest import BulkPhoto, Manifest
from runs.orders import Finish, LabelShard, ListOn, read_order
from runs.records import ListingState, RunControl, RunRecords, state_of
from runs.rows import BulkRow
from runs.run import Run
from runs.sources import BucketSource
from runs.steering import Steering, failed_entries
from shoal.aws import connect, prepare
from shoal.errors import Changed, MalformedMessage, NotFound, Permanent, ShoalError
from shoal.memory import ManualClock, MemoryStore, memory_cloud
from shoal.messages import Label, Result, new_batch
from shoal.ports import Cloud, JobQueue, ObjectStore
from shoal.settings import load

KEYS = st.sets(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
    | st.sampled_from(["a b", "a+b", "a%20b", "$$", "x\ny", "x\u2028y", "photos/", "é" * 500, "z/"]),
    max_size=60,
)


class Killed(BaseException):
    """A kill -9: nothing in the program may catch it."""


class Fragile:
    """Passes calls on to a port; some of them kill the worker, before or after they had their effect."""

    def __init__(self, port: object, dice: random.Random, share: float) -> None:
        self._port = port
        self._dice = dice
        self._share = share

    def __getattr__(self, name: str) -> object:
        method = getattr(self._port, name)

        def call(*arguments: object, **named: object) -> object:
            if self._dice.random() < self._share / 2:
                raise Killed
            answer = method(*arguments, **named)
            if self._dice.random() < self._share / 2:
                raise Killed
            return answer

        return call


def label(_: Run, manifest: Manifest) -> Labelled:
    rows = []
    for one in manifest.entries:
        result = Result.failed(one.key, "no photo", bad_photo=True)
        if one.size % 7:
            result = Result(one.key, "done", (Label(f"size {one.size}", "", 0.5),), model="stub")
        rows.append(BulkRow(one, result))
    return Labelled(rows, 1.5)


def a_run(**more: object) -> Run:
    return Run(new_batch(1_700_000_000.0), "s3://photos", "photos", "", "s3://labels/run", shard_images=5, **more)  # type: ignore[arg-type]


def work(cloud: Cloud, clock: ManualClock, dice: random.Random, share: float) -> None:
    """Workers that are killed and start again, until the bulk queue is empty."""
    outputs = Fragile(cloud.outputs, dice, share)
    bulk = Fragile(cloud.bulk, dice, share)
    fragile = Cloud(**{
        **{name: getattr(cloud, name) for name in Cloud.__slots__},
        "outputs": outputs, "bulk": bulk,
    })  # fmt: skip
    for _ in range(100_000):
        if not cloud.bulk.depth().total:
            return
        try:
            handling = Handling(fragile, label)
            while received := cloud.bulk.receive(dice.randint(1, 3), 0):
                dice.shuffle(received)
                for message in received:
                    if handling.handle(read_order(message.body)) and dice.random() > share:
                        bulk.delete([message.receipt])  # type: ignore[operator]
        except Killed:
            pass
        clock.wait(31)
    raise AssertionError("the run does not end")


def rows_of(cloud: Cloud, run: Run) -> list[BulkRow]:
    bucket = cloud.buckets["labels"]
    return [
        BulkRow.from_line(line)
        for one in bucket.list(f"run/labels-{run.id}-")
        for line in bucket.get(one.key).splitlines()
    ]


def photos_in(bucket: object, keys: set[str]) -> set[str]:
    assert isinstance(bucket, MemoryStore)
    for number, key in enumerate(sorted(keys)):
        bucket.put(key, b"." * (number + 1), "image/jpeg")
    return keys


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(keys=KEYS, seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.05, 0.2]), step_keys=st.integers(3, 30))
@example(keys=set(), seed=1, share=0.0, step_keys=20)
@example(
    keys={f"{number:02d}" for number in range(39)}, seed=1, share=0.2, step_keys=3
)  # did not end: ever more messages
def test_every_key_once_though_workers_are_killed_anywhere(
    keys: set[str], seed: int, share: float, step_keys: int
) -> None:
    clock, dice = ManualClock(), random.Random(seed)
    cloud = memory_cloud(clock)
    photos_in(cloud.buckets["photos"], keys)
    run = a_run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step.__init__, "__defaults__", (*Step.__init__.__defaults__[:-1], step_keys))  # type: ignore[index]
        Steering(cloud).start(run)
        work(cloud, clock, dice, share)
    rows = rows_of(cloud, run)
    assert [row.entry.key for row in rows] == sorted(keys)
    summary = RunRecords(cloud.outputs).summary(run.id)
    assert summary is not None
    assert (summary["labelled"] + summary["failed"], summary["listed"]) == (len(keys), len(keys))
    assert json.loads(cloud.buckets["labels"].get(f"run/summary-{run.id}.json")) == summary
    assert state_of(RunRecords(cloud.outputs), run.id) == ("done", "")
    failed = {row.entry.key for row in rows if row.failed}
    assert {one.key for one in failed_entries(RunRecords(cloud.outputs), run.id)} == failed
    assert summary["failed"] == len(failed)


def test_a_bucket_that_changes_while_it_is_listed_gives_no_key_twice() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    bucket = cloud.buckets["photos"]
    photos_in(bucket, {f"{number:03d}" for number in range(0, 100, 2)})
    run = a_run()
    records = RunRecords(cloud.outputs)
    records.add(run)

    class Growing(BucketSource):
        def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
            for number, found in enumerate(super().entries(after)):
                if number == 7:
                    photos_in(bucket, {f"{int(found[1].key) - 3:03d}", f"{int(found[1].key) + 1:03d}"})
                yield found

    first = Step(records, cloud.bulk, run, Growing(bucket, ""), step_keys=20)
    again = Step(records, cloud.bulk, run, BucketSource(bucket, ""), step_keys=31)
    begun = first._list(records.step(run.id, 0) or ListingState())  # killed before it wrote its step down
    assert begun.shards
    number = 0
    while not again.do(number).done:
        number += 1
    listed = records.listed(run.id)
    assert listed is not None
    keys = [one.key for shard in range(listed.shards) for one in records.manifest(run.id, shard).entries]
    assert len(keys) == len(set(keys)) == listed.images
    assert set(keys) >= {f"{number:03d}" for number in range(0, 100, 2)}


def finish(cloud: Cloud, clock: ManualClock) -> None:
    work(cloud, clock, random.Random(0), 0.0)


def test_paused_resumed_and_cancelled() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    steering, records = Steering(cloud), RunRecords(cloud.outputs)
    photos_in(cloud.buckets["photos"], {f"{number:03d}.jpg" for number in range(40)})
    run = a_run()
    steering.start(run)
    steering.pause(run.id, "a person did")
    finish(cloud, clock)
    assert state_of(records, run.id) == ("paused", "a person did")
    assert rows_of(cloud, run) == []
    steering.resume(run.id)
    assert state_of(records, run.id) == ("listing", "")
    finish(cloud, clock)
    assert len(rows_of(cloud, run)) == 40
    with pytest.raises(Permanent, match="finished"):
        steering.cancel(run.id)
    other = a_run()
    steering.start(other)
    handling = Handling(cloud, label)
    handling.handle(ListOn(other.id, 0))
    handling.handle(LabelShard(other.id, 1))
    assert state_of(records, other.id) == ("running", "")
    steering.cancel(other.id)
    finish(cloud, clock)
    assert state_of(records, other.id) == ("cancelled", "")
    assert len(rows_of(cloud, other)) == 5
    assert list(records.ids()) == sorted([run.id, other.id])


def test_lost_messages_are_sent_again_by_resume() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    steering = Steering(cloud)
    photos_in(cloud.buckets["photos"], {f"{number:03d}.jpg" for number in range(40)})
    run = a_run()
    steering.start(run)
    handling = Handling(cloud, label)
    handling.handle(ListOn(run.id, 0))
    handling.handle(LabelShard(run.id, 3))
    while lost := cloud.bulk.receive(10, 0):
        cloud.bulk.delete([one.receipt for one in lost])
    assert steering.resume(run.id) == 7
    finish(cloud, clock)
    assert len(rows_of(cloud, run)) == 40


def test_a_run_that_fails_too_often_pauses_and_says_why() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    for number in range(300):
        cloud.buckets["photos"].put(f"{number:03d}", b".......", "image/jpeg")  # 7 bytes: no photo
    run = a_run(fail_above=0.05)
    Steering(cloud).start(run)
    finish(cloud, clock)
    state, why = state_of(RunRecords(cloud.outputs), run.id)
    assert (state, why) == ("paused", "100 of 100 photos failed, more than 5%")


def test_where_and_limit_choose_and_folders_are_left_out() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    bucket = cloud.buckets["photos"]
    photos_in(bucket, {"a/1.JPG", "a/2.png", "b/3.jpg", "c.jpg", "d.jpg"})
    bucket.put("a/", b"", "")
    run = a_run(where="*.jpg", limit=3)
    Steering(cloud).start(run)
    finish(cloud, clock)
    assert [row.entry.key for row in rows_of(cloud, run)] == ["a/1.JPG", "b/3.jpg", "c.jpg"]


@settings(max_examples=60, deadline=None)
@given(before=KEYS, new=KEYS, changed=st.integers(1, 5), step_keys=st.integers(3, 30))
def test_not_if_done_does_only_what_is_new_or_changed_or_failed(
    before: set[str], new: set[str], changed: int, step_keys: int
) -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    bucket = cloud.buckets["photos"]
    photos_in(bucket, before)
    first = a_run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step.__init__, "__defaults__", (*Step.__init__.__defaults__[:-1], step_keys))  # type: ignore[index]
        Steering(cloud).start(first)
        finish(cloud, clock)
        failed = {row.entry.key for row in rows_of(cloud, first) if row.failed}
        other = set(sorted(before)[::changed])
        for key in other | (new - before):
            bucket.put(key, b"other bytes", "image/jpeg")
        second = a_run(not_if_done=True)
        Steering(cloud).start(second)
        finish(cloud, clock)
        third = a_run(not_if_done=True)
        Steering(cloud).start(third)
        finish(cloud, clock)
    again = [row.entry.key for row in rows_of(cloud, second)]
    assert again == sorted((new - before) | other | failed)
    assert [row.entry.key for row in rows_of(cloud, third)] == sorted(failed - other)


def test_not_if_done_does_again_what_another_model_has_labelled() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    keys = photos_in(cloud.buckets["photos"], {"a.jpg", "b.jpg", "c.jpg"})

    def labelled_by(model: str) -> set[str]:
        run = a_run(model=model, not_if_done=True)
        Steering(cloud).start(run)
        finish(cloud, clock)
        return {row.entry.key for row in rows_of(cloud, run)}

    assert labelled_by("stub") == keys  # `label` names its model so
    assert labelled_by("another") == keys
    assert labelled_by("stub") == set()
    assert labelled_by("") == set()  # not known which one that is: any counts


def test_what_is_no_message_of_a_run_is_refused() -> None:
    run = new_batch(1.0)
    for order in (ListOn(run, 3), LabelShard(run, 4), Finish(run)):
        assert read_order(order.to_json()) == order
    theirs = ['{"v":1,"run":"x","list":1}', f'{{"v":1,"run":"{run}"}}', f'{{"v":1,"run":"{run}","shard":-1}}']
    for body in ("", "{}", *theirs):
        with pytest.raises(MalformedMessage):
            read_order(body)


def test_records_read_what_they_wrote() -> None:
    cloud = memory_cloud(ManualClock())
    records: RunRecords = RunRecords(cloud.outputs)
    run = a_run(top=3, not_if_done=True, deadline=5.5, model="resnet50")
    records.add(run)
    assert records.run(run.id) == run
    records.decide(run.id, RunControl("paused", "why"))
    assert records.control(run.id) == RunControl("paused", "why")
    outputs: ObjectStore = cloud.outputs
    queue: JobQueue = cloud.bulk
    assert queue.depth().total == 0
    outputs.put(f"runs/{run.id}/run.json", b'{"v": 2}', "")
    with pytest.raises(ShoalError, match="another version"):
        records.run(run.id)


def test_an_object_is_read_while_it_is_the_one_that_was_listed(embedded_cloud: None) -> None:
    chosen = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    prepare(chosen)
    there = connect(chosen)
    in_memory = memory_cloud(ManualClock())
    for store, bucket in (
        (there.inputs, there.buckets[chosen.in_bucket]),
        (in_memory.buckets["photos"], in_memory.buckets["photos"]),
    ):
        store.put("a+b %20\nc/", b"first", "image/jpeg")
        [found] = bucket.list("a+b")
        assert (found.key, found.size) == ("a+b %20\nc/", 5)
        assert bucket.get_unchanged(found.key, found.etag) == bucket.get_unchanged(found.key, "") == b"first"
        parts = [bucket.get_part(found.key, start, 3) for start in (0, 3, 4, 5, 99)]
        assert parts == [b"fir", b"st", b"t", b"", b""]
        store.put(found.key, b"other", "image/jpeg")
        with pytest.raises(Changed):
            bucket.get_unchanged(found.key, found.etag)
        with pytest.raises(NotFound):
            bucket.get_unchanged("nothing", found.etag)
