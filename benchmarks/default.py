"""What a new user gets: a fresh state folder, default settings, an empty pool, and the photos at once.

`python -m benchmarks default` measures it. `SHOAL_BENCH_ROUNDS=1` is a quick run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from benchmarks.page import running
from benchmarks.running.system import ROOT, RunningSystem
from benchmarks.running.waiting import wait_for
from shoal.ledger import Entry
from shoal.ledger_file import NAME, read
from shoal.settings import Settings

CLIENTS = 100
WATCH_SECONDS = 2.0
PARTS = {
    "worker": ("-m app_tier",),
    "web": ("-m web_tier",),
    "controller": ("-m controller",),
    "S3 and SQS": ("service_process", "hypercorn", "ministack", "services_app"),
    "EC2": ("-m local_cloud",),
}


@dataclass(frozen=True)
class DefaultRound:
    """One round. first_seconds: until the first label. launched: workers. core_ms: of a photo, by process."""

    per_second: float
    first_seconds: float
    launched: int
    core_ms: Mapping[str, float]

    @property
    def outside(self) -> float:
        """Core-milliseconds of a photo outside the workers."""
        return sum(cost for part, cost in self.core_ms.items() if part != "worker")


def measure(payloads: Sequence[bytes], way: str) -> DefaultRound:
    """Label the photos in a way of WAYS, from nothing."""
    with _system() as system, tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number:04d}.jpg" for number in range(len(payloads))]
        for number, (path, payload) in enumerate(zip(paths, payloads, strict=True)):
            path.write_bytes(payload + f"{number}".encode())  # no two are the same, so no answer is remembered
        with _CoreWatch(system, len(payloads)) as cores:
            began = time.perf_counter()
            with ThreadPoolExecutor(1) as watch:
                first = watch.submit(_first_label, system, began)
                WAYS[way](system, paths)
                seconds = time.perf_counter() - began
                first_seconds = first.result()
        return DefaultRound(
            len(paths) / seconds, first_seconds, launched(read(system.state_dir / NAME)), cores.milliseconds
        )


def launched(entries: Iterator[Entry]) -> int:
    """How many instances the controller launched."""
    return sum(len(act.machines) for entry in entries for act in entry.done if act.kind == "launch")


def part_of(command: str) -> str:
    """The part of the system that a command line belongs to; "other" for the rest."""
    return next((part for part, words in PARTS.items() if any(word in command for word in words)), "other")


def _classify(system: RunningSystem, paths: Sequence[Path]) -> None:
    command = [sys.executable, "-m", "shoal_cli", "classify", str(paths[0].parent), "--url", system.address]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _clients(system: RunningSystem, paths: Sequence[Path]) -> None:
    def send(path: Path) -> None:
        files = {"inputFile": (path.name, path.read_bytes())}
        requests.post(system.address, files=files, timeout=300).raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(send, paths))


WAYS: dict[str, Callable[[RunningSystem, Sequence[Path]], None]] = {
    "shoal classify": _classify,
    f"{CLIENTS} clients": _clients,
}


def _first_label(system: RunningSystem, began: float) -> float:
    s3, bucket = system.client("s3"), system.settings.out_bucket

    def stored() -> bool:
        return bool(s3.list_objects_v2(Bucket=bucket, MaxKeys=1)["KeyCount"])

    wait_for(stored, 120, "no label came", every_seconds=0.1)
    return time.perf_counter() - began


def _system() -> AbstractContextManager[RunningSystem]:
    """A system with the settings that a new user has, not with those that make other measurements short."""
    usual = Settings()
    return running(
        QUIET_SECONDS=usual.quiet_seconds,
        LOCAL_BOOT_SECONDS=usual.local_boot_seconds,
        ANSWER_CACHE=usual.answer_cache,
    )


class _CoreWatch:
    """Adds up the processor time of the system's processes. Of one that ends, what was seen last counts."""

    def __init__(self, system: RunningSystem, photos: int) -> None:
        self._system = system
        self._photos = photos
        self._begin: dict[int, float] = {}
        self._last: dict[int, tuple[str, float]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _CoreWatch:
        self._look()
        self._begin = {pid: seconds for pid, (_, seconds) in self._last.items()}
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_SECONDS):
            self._look()

    def _look(self) -> None:
        for process in self._system.processes():
            try:
                times = process.cpu_times()
                self._last[process.pid] = part_of(" ".join(process.cmdline())), times.user + times.system
            except psutil.Error:
                continue  # it ended meanwhile

    @property
    def milliseconds(self) -> dict[str, float]:
        """Core-milliseconds of a photo, by part."""
        total: dict[str, float] = defaultdict(float)
        for pid, (part, seconds) in self._last.items():
            total[part] += (seconds - self._begin.get(pid, 0.0)) * 1000 / self._photos
        return dict(total)
