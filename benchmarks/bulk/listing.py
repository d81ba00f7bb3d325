"""A listing of synthetic keys against the ports in memory."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

from runs.listing import Step
from runs.manifest import BulkPhoto
from runs.orders import ListOn, read_order
from runs.records import RunRecords
from runs.run import Run
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import new_batch
from shoal.ports import StoredObject


class SyntheticBucket:
    """Keys that nobody stores."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `runs.sources.PhotoSource`."""
        first = int(after[7:16]) + 1 if after else 0
        for number in range(first, self._keys):
            key = f"photos/{number:09d}.jpg"
            yield key, BulkPhoto(key, '"0123456789abcdef0123456789abcdef"', 100_000)


class ForgetfulStore:
    """Keeps all but the manifests, which would fill the memory that is measured."""

    def __init__(self) -> None:
        self._kept = memory_cloud(SystemClock()).outputs

    def put(self, key: str, body: bytes, content_type: str) -> None:
        self._kept.put(key, body, content_type)

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        return "/shards/" in key or self._kept.put_new(key, body, content_type)

    def get(self, key: str) -> bytes:
        return self._kept.get(key)

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        return self._kept.list(prefix, after, most)

    def delete(self, key: str) -> None:
        self._kept.delete(key)


def lists(keys: int) -> tuple[float, float, float]:
    """Keys a second, seconds until the first shard was sent, and by how many MB the process grew."""
    cloud = memory_cloud(SystemClock(), 3600)
    records = RunRecords(ForgetfulStore())
    run = Run(new_batch(time.time()), "s3://photos", "photos", "")
    records.add(run)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, first, number = time.monotonic(), 0.0, 0
    step = Step(records, cloud.bulk, run, SyntheticBucket(keys))
    while not step.do(number).done:
        first = first or time.monotonic() - began
        number += 1
        while received := cloud.bulk.receive(10, 0):
            cloud.bulk.delete([one.receipt for one in received])
            if any(isinstance(read_order(one.body), ListOn) for one in received):
                break
    took = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return keys / took, first or took, grown
