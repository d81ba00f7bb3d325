"""A run over photos of known colours while workers, controller and web process are killed and the cloud is hostile."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture import colours
from benchmarks.torture.account import Account
from benchmarks.torture.trouble import Disturber
from local_cloud.hostile.dice import SCALE
from runs.progress import ProgressReader
from runs.records import RunRecords
from runs.rows import BulkRow
from runs.run import Run
from runs.steering import Steering
from shoal.aws.clients import Service
from shoal.aws.iam import allow_runs
from shoal.aws.s3 import S3Store
from shoal.aws.sqs import SqsQueue
from shoal.clock import SystemClock
from shoal.errors import ShoalError
from shoal.memory import memory_cloud
from shoal.messages import new_batch
from shoal.ports import Cloud

PHOTOS, LABELS = "many-photos", "many-labels"
KINDS = 40  # different photos
STRANGE = ("a b", "a+b", "a%20b", "$$", "x\ny", "é/ü", "l" * 900)
TROUBLE_SECONDS = 3.0
END_SECONDS = 600.0
SETTINGS: Mapping[str, object] = {
    "ENGINE": colours.NAME, "PRECISION": "float32", "MAX_INSTANCES": 3, "VISIBILITY_SECONDS": 10, "SWEEP_SECONDS": 10,
    "BOOT_SECONDS": 30, "SILENT_SECONDS": 30, "CAPACITY_SECONDS": 180 * SCALE, "DRAIN_SECONDS": 30,
}  # fmt: skip


@dataclass
class KilledRun:
    """What came of it. counts: what was done to the system. wrong: what is wrong, in words."""

    objects: int
    seconds: float = 0.0
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def cloud_of(system: RunningSystem) -> Cloud:
    """What a run needs of the system's cloud, answered truthfully."""
    s3, sqs = Service("s3", system.client("s3")), Service("sqs", system.client("sqs"))
    chosen = system.settings

    class _Buckets(dict[str, S3Store]):
        def __missing__(self, name: str) -> S3Store:
            return S3Store(s3, name)

    own = memory_cloud(SystemClock())
    names = {name: getattr(own, name) for name in Cloud.__slots__}
    outputs, bulk = S3Store(s3, chosen.out_bucket), SqsQueue(sqs, chosen.bulk_queue)
    return Cloud(**{**names, "outputs": outputs, "bulk": bulk, "buckets": _Buckets()})


def fill(system: RunningSystem, objects: int, choice: random.Random) -> dict[str, str]:
    """Put photos in a bucket that workers may read; returns the label that each key must get."""
    s3 = system.client("s3")
    for bucket in (PHOTOS, LABELS):
        s3.create_bucket(Bucket=bucket)
    allow_runs(system.client("iam"), system.settings.role, [f"{PHOTOS}/in/"], [f"{LABELS}/run"])
    drawn = [colours.draw(choice) for _ in range(KINDS)]
    keys = [f"in/{name}.{drawn[0][1]}" for name in STRANGE] + [f"in/{n:06d}" for n in range(objects - len(STRANGE))]
    chosen = {key: choice.choice(drawn) for key in keys}

    def put(key: str) -> None:
        s3.put_object(Bucket=PHOTOS, Key=key, Body=chosen[key][0])

    with ThreadPoolExecutor(8) as threads:
        for _ in threads.map(put, keys):
            pass
    return {key: label for key, (_, _, label) in chosen.items()}


def killed(folder: Path, seed: int, objects: int, rate: float = 1.0) -> KilledRun:
    """One run in a folder of its own. rate: a factor on how often the cloud fails by itself."""
    outcome, account, choice = KilledRun(objects), Account(), random.Random(seed)
    over = threading.Event()
    with _started(folder, ["--hostile", str(seed), "--hostile-rate", str(rate)]) as system:
        expected = fill(system, objects, choice)
        cloud, began = cloud_of(system), time.monotonic()
        run = begun(cloud)
        trouble = Disturber(system, account, random.Random(choice.random()), None, over.wait)
        troubling = threading.Thread(target=trouble.run, args=(END_SECONDS, TROUBLE_SECONDS))
        troubling.start()
        try:
            _wait(cloud, run)
        finally:
            over.set()
            troubling.join()
        outcome.seconds = time.monotonic() - began
        outcome.counts = account.counts
        outcome.wrong = account.wrong + differences(cloud, run, expected)
        system.wait_until_empty(120)
    return outcome


def killed_by_progress(folder: Path, seed: int, objects: int, kills: int) -> KilledRun:
    """The same without other trouble: all workers and the controller are killed each time that a part is done."""
    outcome = KilledRun(objects)
    with _started(folder, []) as system:
        expected = fill(system, objects, random.Random(seed))
        cloud, began = cloud_of(system), time.monotonic()
        run = begun(cloud)
        reader = ProgressReader(RunRecords(cloud.outputs), run)
        for number in range(1, kills + 1):
            part = objects * number // (kills + 1)
            wait_for(lambda part=part: reader.look().done >= part, END_SECONDS, "the run does not get on", 0.1)  # type: ignore[misc]
            for one in (*system.workers(), system.part("-m controller")):
                with suppress(psutil.Error):
                    one.kill()
                    outcome.counts["kill -9"] += 1
        _wait(cloud, run)
        outcome.seconds = time.monotonic() - began
        outcome.wrong = differences(cloud, run, expected)
        system.wait_until_empty(120)
    return outcome


@contextmanager
def _started(folder: Path, options: Sequence[str]) -> Iterator[RunningSystem]:
    """A system whose workers label by colour, in a folder of its own."""
    colours.prepare(folder / "cache")
    system = RunningSystem(folder / "state", options, **SETTINGS, CACHE_DIR=folder / "cache")
    try:
        system.start()
        yield system
    finally:
        if system.process.poll() is None:
            system.stop(signal.SIGTERM)


def begun(cloud: Cloud) -> Run:
    """A run over the photos that `fill` put there."""
    run = Run(new_batch(time.time()), f"s3://{PHOTOS}/in/", PHOTOS, "in/", f"s3://{LABELS}/run", shard_images=100)
    Steering(cloud).start(run)
    return run


def _wait(cloud: Cloud, run: Run) -> None:
    reader = ProgressReader(RunRecords(cloud.outputs), run)

    def ended() -> bool:
        with suppress(ShoalError):
            return reader.look().state in ("done", "paused")
        return False

    wait_for(ended, END_SECONDS, lambda: f"the run does not end: {reader.look()}", 0.5)


def differences(cloud: Cloud, run: Run, expected: Mapping[str, str]) -> list[str]:
    """What is wrong with the results, in words: keys that are missing, there twice, unknown or wrong."""
    bucket = cloud.buckets[LABELS]
    rows = [
        BulkRow.from_line(line)
        for one in bucket.list(f"run/labels-{run.id}-")
        for line in bucket.get(one.key).split(b"\n")
        if line
    ]
    found = Counter(row.entry.key for row in rows)
    wrong = [f"{key!r} is there {count} times" for key, count in found.items() if count > 1]
    wrong += [f"{key!r} is missing" for key in expected.keys() - found.keys()]
    wrong += [f"{key!r} is unknown" for key in found.keys() - expected.keys()]
    wrong += [
        f"{row.entry.key!r} is {row.result.label or row.result.error!r}, not {expected.get(row.entry.key)!r}"
        for row in rows
        if row.result.label != expected.get(row.entry.key)
    ]
    summary = RunRecords(cloud.outputs).summary(run.id) or {}
    if (summary.get("listed"), summary.get("labelled")) != (len(expected), len(expected)):
        wrong.append(f"the summary says {summary.get('listed')} listed, {summary.get('labelled')} labelled")
    return wrong
