"""A whole Shoal as a user has it: uploads over HTTP, an embedded cloud, a pool of workers."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for

UPLOAD_PHOTOS = 8
UPLOADS_AT_ONCE = 4


def pipeline(payloads: Sequence[bytes], workers: int, rounds: int) -> list[float]:
    """Images a second of each round, with a pool that keeps its size."""
    with running(MIN_INSTANCES=workers, MAX_INSTANCES=workers) as system:
        wait_for(lambda: len(system.workers()) == workers, 60, "the workers did not come")
        label_all(system, payloads[:64])  # warm
        return [label_all(system, payloads) for _ in range(rounds)]


def label_all(system: RunningSystem, payloads: Sequence[bytes]) -> float:
    """Images a second from the first byte uploaded to the last result in the output bucket."""
    batch = requests.post(f"{system.address}/batches", timeout=30).json()["batch"]
    began = time.perf_counter()

    def send(first: int) -> None:
        group = payloads[first : first + UPLOAD_PHOTOS]
        files = [("inputFile", (f"{first + n}.jpg", one)) for n, one in enumerate(group)]
        requests.post(
            f"{system.address}/batches/{batch}/photos?first={first}", files=files, timeout=120
        ).raise_for_status()

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as senders:
        list(senders.map(send, range(0, len(payloads), UPLOAD_PHOTOS)))
    s3, bucket = system.client("s3"), system.settings.out_bucket

    def all_stored() -> bool:
        return bool(s3.list_objects_v2(Bucket=bucket, Prefix=batch)["KeyCount"] == len(payloads))

    # Looking costs the machine that is measured some milliseconds: not too often.
    wait_for(all_stored, 300, "the results did not come", every_seconds=0.25)
    return len(payloads) / (time.perf_counter() - began)


def first_label(payload: bytes, rounds: int) -> list[float]:
    """Seconds from an upload to the label in the answer, each time on an empty pool; a boot of 1 s is part of it."""
    seconds = []
    with running(QUIET_SECONDS=1, LOCAL_BOOT_SECONDS=1) as system:
        for _ in range(rounds):
            system.wait_until_empty()
            began = time.perf_counter()
            requests.post(system.address, files={"inputFile": ("a.jpg", payload)}, timeout=120).raise_for_status()
            seconds.append(time.perf_counter() - began)
    return seconds


@contextmanager
def running(kept: Path | None = None, **settings: object) -> Iterator[RunningSystem]:
    """A system of its own for one measurement.

    kept: the folder in which its own folder stays, with empty files; the caller deletes it. For half a minute after
    many files were deleted ext4 makes others slowly (1 ms each was seen), and the next measurement would be of that.
    """
    folder = Path(tempfile.mkdtemp(prefix="shoal-bench-", dir=kept))
    system = RunningSystem(folder / "state", (), **settings)
    try:
        system.start()
        yield system
    finally:
        system.stop()
        if kept is None:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            _empty(folder)


def _empty(folder: Path) -> None:
    """Give back the room of all files in a folder and below it, and leave the files."""
    for place, _, names in os.walk(folder):
        for path in (Path(place, name) for name in names):
            if path.is_file() and not path.is_symlink():
                os.truncate(path, 0)
