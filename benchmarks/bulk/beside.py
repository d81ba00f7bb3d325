"""How long people wait for a label beside a full slow lane, and on an idle system: one worker with the real engine."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from benchmarks import photos as examples
from benchmarks.bulk.killed import PHOTOS, begun, cloud_of, fill
from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from runs.progress import ProgressReader
from runs.records import RunRecords
from runs.steering import Steering
from shoal.settings import load

WORKER_SECONDS = 60.0
MOVING_SECONDS = 120.0
WARM_UP = 5


def waits(count: int, objects: int) -> tuple[list[float], list[float], float]:
    """Seconds of each photo on an idle system and beside a run, and the photos a second that the run did meanwhile."""
    bodies = [path.read_bytes() for path in examples.labelled(load().cache_dir)]
    with tempfile.TemporaryDirectory(prefix="shoal-beside-") as folder:
        system = RunningSystem(Path(folder) / "state", (), MIN_INSTANCES=1, MAX_INSTANCES=1)
        system.start()
        try:
            wait_for(system.workers, WORKER_SECONDS, "no worker came")
            _ask(system, bodies, WARM_UP)
            idle = _ask(system, bodies, count)
            _fill(system, bodies, objects)
            cloud = cloud_of(system)
            run = begun(cloud)
            reader = ProgressReader(RunRecords(cloud.outputs), run)
            wait_for(lambda: reader.look().done, MOVING_SECONDS, "the run does not begin", 0.2)
            before, began = reader.look().done, time.monotonic()
            beside = _ask(system, bodies, count)
            look = reader.look()
            if look.state == "done":
                raise RuntimeError(f"{objects} objects were too few: the run was over before the photos were")
            rate = (look.done - before) / (time.monotonic() - began)
            Steering(cloud).cancel(run.id)
        finally:
            system.stop()
    return idle, beside, rate


def p95(seconds: list[float]) -> float:
    """The wait that 95 % of the photos did not exceed."""
    return statistics.quantiles(seconds, n=20)[-1]


def _ask(system: RunningSystem, bodies: list[bytes], count: int) -> list[float]:
    seconds = []
    with requests.Session() as session:
        for number in range(count):
            began = time.perf_counter()
            files = {"inputFile": (f"{number}.jpg", bodies[number % len(bodies)])}
            session.post(system.address, files=files, timeout=120).raise_for_status()
            seconds.append(time.perf_counter() - began)
    return seconds


def _fill(system: RunningSystem, bodies: list[bytes], objects: int) -> None:
    fill(system, 10, random.Random(1))
    s3 = system.client("s3")

    def put(number: int) -> None:
        s3.put_object(Bucket=PHOTOS, Key=f"in/{number:06d}.jpg", Body=bodies[number % len(bodies)])

    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(put, range(objects)):
            pass
