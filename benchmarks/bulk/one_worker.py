"""A worker's lane over photos in memory, every call to the store slow; beside decoding and inference alone."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor

from app_tier.shards.labelling import ENGINE_CALLS, Labelling
from app_tier.suspects.suspects import Suspects
from benchmarks import photos as examples
from inference import process
from runs.manifest import BulkPhoto, Manifest
from runs.run import Run
from shoal import settings
from shoal.clock import SystemClock
from shoal.memory import MemoryStore, memory_cloud
from shoal.messages import new_batch

SHARD = 500


class SlowStore(MemoryStore):
    """A store whose reads take a while, as over a network."""

    delay = 0.02

    def get_unchanged(self, key: str, etag: str) -> bytes:
        time.sleep(self.delay)
        return super().get_unchanged(key, etag)


def works(count: int, delay: float) -> tuple[float, float]:
    """Photos a second by decoding and inference alone, and by a lane."""
    chosen = settings.load()
    recogniser = process.load_as_set(chosen)
    recogniser.warm_up()
    bodies = [path.read_bytes() for path in examples.labelled(chosen.cache_dir)]
    alone = _alone(recogniser, bodies, count)
    store = SlowStore(SystemClock())
    store.delay = delay
    entries = []
    for number in range(count):
        key = f"{number:06d}.jpg"
        store.put(key, bodies[number % len(bodies)], "image/jpeg")
        entries.append(BulkPhoto(key, "", 1))
    cloud = memory_cloud(SystemClock())
    lane = Labelling({"photos": store}, recogniser, Suspects(cloud.outputs), lambda: None)
    run = Run(new_batch(time.time()), "s3://photos", "photos", "")
    began = time.monotonic()
    for start in range(0, count, SHARD):
        lane.label(run, start, Manifest(tuple(entries[start : start + SHARD]), "", 0), again=False)
    rate = count / (time.monotonic() - began)
    lane.close()
    return alone, rate


def _alone(recogniser: process.Recogniser, bodies: list[bytes], count: int) -> float:
    """All cores decode and infer, nothing is fetched or stored."""
    size = recogniser.batch("")
    with ThreadPoolExecutor(os.cpu_count() or 1) as decoding, ThreadPoolExecutor(ENGINE_CALLS) as inferring:
        began = time.monotonic()
        decoded = [decoding.submit(recogniser.decode, "", bodies[n % len(bodies)]) for n in range(count)]
        calls = []
        for start in range(0, count, size):
            batch = [one.result() for one in decoded[start : start + size]]
            calls.append(inferring.submit(recogniser.infer, "", batch))
            if len(calls) > ENGINE_CALLS:
                calls.pop(0).result()
        for call in calls:
            call.result()
        return count / (time.monotonic() - began)
