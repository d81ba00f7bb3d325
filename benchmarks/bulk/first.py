"""How long the first result takes over a million synthetic keys, and the memory of who begins a run and looks on."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.bulk.listing import ForgetfulStore, SyntheticBucket
from runs.forecast import forecast
from runs.handling import Handling, Labelled
from runs.listing import Step
from runs.manifest import BulkPhoto, Manifest
from runs.orders import LabelShard, ListOn, Order, read_order
from runs.progress import ProgressReader
from runs.records import DoneShard, RunRecords
from runs.rows import BulkRow
from runs.run import Run
from runs.steering import Steering
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import Label, Result, new_batch
from shoal.ports import Cloud, StoredObject

PAGE = 1000  # keys that S3 lists in a call
SERVICE_SECONDS = 0.04  # of a photo, for the stub
LOOK_SECONDS = 0.02
END_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class FirstResult:
    """Seconds from the command until it has counted, and until the first results are stored."""

    counted: float
    stored: float


class SlowListing:
    """A bucket of synthetic keys, of which each page takes a while."""

    def __init__(self, keys: int, page_seconds: float) -> None:
        self._keys = SyntheticBucket(keys)
        self._page_seconds = page_seconds

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:  # noqa: ARG002 - the port's signature
        for number, (key, photo) in enumerate(self._keys.entries(after)):
            if number % PAGE == 0:
                time.sleep(self._page_seconds)
            if most is not None and number >= most:
                return
            yield StoredObject(key, photo.size, 0.0, photo.etag)

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `runs.sources.PhotoSource`."""
        for one in self.list("", after):
            yield one.key, BulkPhoto(one.key, one.etag, one.size)


def first_result(keys: int, page_seconds: float, workers: int) -> FirstResult:
    """The command counts and begins; workers that wait already, with a stub for an engine, list and label."""
    cloud = memory_cloud(SystemClock())
    bucket = SlowListing(keys, page_seconds)
    cloud.buckets["photos"] = bucket  # type: ignore[index]
    over = threading.Event()
    pool = [threading.Thread(target=_work, args=(cloud, over)) for _ in range(workers)]
    for one in pool:
        one.start()
    began = time.monotonic()
    try:
        run = Run(new_batch(time.time()), "s3://photos", "photos", "")
        forecast(run, bucket, SERVICE_SECONDS)
        counted = time.monotonic() - began
        steering = Steering(cloud)
        steering.start(run)
        while next(steering.records.done_after(run.id, -1), None) is None:
            if time.monotonic() - began > END_SECONDS:
                raise TimeoutError("no result came")
            time.sleep(LOOK_SECONDS)
        return FirstResult(counted, time.monotonic() - began)
    finally:
        over.set()
        for one in pool:
            one.join()


def memory(keys: int) -> tuple[float, float]:
    """MB that a process has before, and at the most, that counts, begins, lists and looks on."""
    cloud, records = memory_cloud(SystemClock(), 3600), RunRecords(ForgetfulStore())
    run = Run(new_batch(time.time()), "s3://photos", "photos", "")
    source = SyntheticBucket(keys)
    before = _peak()
    forecast(run, source, SERVICE_SECONDS)
    records.add(run)
    step, reader = Step(records, cloud.bulk, run, source), ProgressReader(records, run)
    number, marked, done = 0, 0, False
    while not done:
        listed = step.do(number)
        number, done = number + 1, listed.done
        for shard in range(marked, listed.shards):
            records.mark_done(run.id, DoneShard(shard, run.images_of(shard), 0, 8.0))
        marked = listed.shards
        reader.look().to_dict()
        _drop(cloud)
    return before, _peak()


def _drop(cloud: Cloud) -> None:
    """Another process takes the messages."""
    while received := cloud.bulk.receive(10, 0):
        cloud.bulk.delete([one.receipt for one in received])
        if any(isinstance(read_order(one.body), ListOn) for one in received):
            return


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _work(cloud: Cloud, over: threading.Event) -> None:
    def label(_: Run, manifest: Manifest) -> Labelled:
        over.wait(SERVICE_SECONDS * len(manifest.entries))
        result = Result("-", "done", (Label("tabby", "n02123045", 0.61, 281),))
        return Labelled([BulkRow(one, result) for one in manifest.entries], SERVICE_SECONDS)

    handling = Handling(cloud, label, lambda: over.is_set())
    while not over.is_set():
        for message in cloud.bulk.receive(1, 0.1):
            order: Order = read_order(message.body)
            if isinstance(order, LabelShard) or order == ListOn(order.run, 0):
                handling.handle(order)
            cloud.bulk.delete([message.receipt])
