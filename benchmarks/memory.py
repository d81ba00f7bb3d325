"""`python -m benchmarks.memory [PHOTOS]`: the memory of a worker process, and whether it grows.

A child process runs the pipeline on a cloud in memory that makes photos when they are requested. It reports its
resident memory regularly. The bytes of the photos are part of it once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from app_tier.allocator import give_back_large_blocks
from app_tier.worker import Worker
from benchmarks import photos
from benchmarks.cloudless import REPLIES
from benchmarks.running.system import ROOT
from inference import process
from shoal.aws import connect
from shoal.clock import SystemClock
from shoal.lifecycle import StopSignal
from shoal.memory import MemoryStore, memory_cloud
from shoal.messages import Job, new_batch
from shoal.settings import load

MEGABYTE = 1_000_000
STEPS = 10
AHEAD = 64  # messages in the queue


class Source(MemoryStore):
    """An ObjectStore that returns the same photos again and again and forgets what is written to it."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        super().__init__(SystemClock())
        self._payloads = payloads

    def get(self, key: str) -> bytes:
        """The photo of that key."""
        return self._payloads[int(key.split("/")[1]) % len(self._payloads)]

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - the port's signature
        """Forget it."""
        return True


def resident() -> float:
    """Resident memory of this process, in MB."""
    return float(psutil.Process().memory_info().rss) / MEGABYTE


def run(payloads: Sequence[bytes], count: int) -> list[float]:
    """Label `count` photos; return the resident memory in MB after each tenth of them."""
    give_back_large_blocks()
    chosen = load()
    recogniser = process.load_as_set(chosen)
    clients = connect(chosen)  # a worker has them too
    source = Source(payloads)
    cloud = replace(memory_cloud(SystemClock()), inputs=source, outputs=source, pool=clients.pool)
    stop = StopSignal()
    worker = Worker(cloud, recogniser, {REPLIES: cloud.responses}, "memory", stop, 3600)
    thread = threading.Thread(target=worker.run)
    thread.start()
    seen: list[float] = []
    batch, sent = new_batch(time.time()), 0
    while worker.finished < count:
        for message in cloud.responses.receive(10, 0):
            cloud.responses.delete([message.receipt])
        while sent < min(count, worker.finished + AHEAD):
            cloud.requests.send([Job(batch, sent, "a.jpg", REPLIES).to_json()])
            sent += 1
        if worker.finished >= (len(seen) + 1) * count / STEPS:
            seen.append(resident())
        stop.wait(0.01)
    stop.stop("done")
    thread.join()
    return [*seen, resident()][:STEPS]


def measure(count: int) -> list[float]:
    """`run` in a separate process, on photos of all kinds."""
    command = [sys.executable, "-m", "benchmarks.memory", str(count)]
    environment = dict(os.environ) | {"AWS_DEFAULT_REGION": "us-east-1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return [float(one) for one in done.stdout.split()]


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    found = sorted(folder.iterdir()) if folder else photos.fetch(load().cache_dir)
    print(*(f"{one:.1f}" for one in run([one.read_bytes() for one in found], int(sys.argv[1]))))
