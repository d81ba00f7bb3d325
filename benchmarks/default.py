"""What a new user gets: a fresh state folder, default settings, an empty pool, and the photos at once.

`python -m benchmarks default` measures it, `python -m benchmarks long` ten times as many photos through the page, which
takes minutes. `SHOAL_BENCH_PHOTOS=50` sends fewer photos.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests
from playwright.sync_api import Browser, expect, sync_playwright

from benchmarks.page import running
from benchmarks.running.system import ROOT, RunningSystem
from benchmarks.running.waiting import wait_for
from shoal.ledger import Entry
from shoal.ledger_file import NAME, read
from shoal.settings import Settings
from shoal_cli.demo import numbered

CLIENTS = 100
WATCH_SECONDS = 2.0
ANSWER_SECONDS = 600.0
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# What the person brings along: not a part of Shoal.
BROWSER = "browser"
STORE = "S3 and SQS"
PARTS = {
    "worker": ("-m app_tier",),
    "web": ("-m web_tier",),
    "controller": ("-m controller",),
    STORE: ("service_process", "uvicorn", "ministack", "services_app"),
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
        """Core-milliseconds of a photo outside the workers and the browser."""
        return sum(cost for part, cost in self.core_ms.items() if part not in ("worker", BROWSER))


def ways() -> list[str]:
    """The ways to send photos that can be measured here: those through the page need Chromium."""
    return [way for way in WAYS if way != PAGE or Path(CHROMIUM).exists()]


def measure(payloads: Sequence[bytes], way: str, folder: Path) -> DefaultRound:
    """Label the photos in a way of WAYS, from nothing. folder: where the system's files stay, emptied."""
    with usual_system(folder) as system:
        sent = system.state_dir.with_name("photos")
        sent.mkdir()
        paths = [sent / f"{number:04d}.jpg" for number in range(len(payloads))]
        for number, (path, payload) in enumerate(zip(paths, payloads, strict=True)):
            path.write_bytes(numbered(payload, number))  # no two are the same, so no answer is remembered
        with _CoreWatch(system, len(payloads)) as cores:
            seconds, first_seconds, clients = WAYS[way](system, paths)
        costs = {**cores.milliseconds, **{part: spent * 1000 / len(paths) for part, spent in clients.items()}}
        return DefaultRound(len(paths) / seconds, first_seconds, launched(read(system.state_dir / NAME)), costs)


def launched(entries: Iterator[Entry]) -> int:
    """How many instances the controller launched."""
    return sum(len(act.machines) for entry in entries for act in entry.done if act.kind == "launch")


def part_of(command: str) -> str:
    """The part of the system that a command line belongs to; "other" for the rest."""
    return next((part for part, words in PARTS.items() if any(word in command for word in words)), "other")


Sent = tuple[float, float, dict[str, float]]
"""Seconds until the last label and until the first, and core-seconds of the clients by their part."""


def _classify(system: RunningSystem, paths: Sequence[Path]) -> Sent:
    command = [sys.executable, "-m", "shoal_cli", "classify", str(paths[0].parent), "--url", system.address]
    # Not that of the system: by it the command would count as one of its processes, too.
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = _core_seconds_of_children()
    took = _timed(
        system,
        lambda: subprocess.run(
            command,
            cwd=ROOT,
            env=own,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ),
    )
    return *took, {"CLI": _core_seconds_of_children() - before}


def _clients(system: RunningSystem, paths: Sequence[Path]) -> Sent:
    def send(path: Path) -> None:
        files = {"inputFile": (path.name, path.read_bytes())}
        requests.post(system.address, files=files, timeout=ANSWER_SECONDS).raise_for_status()

    with ThreadPoolExecutor(CLIENTS) as clients:
        return *_timed(system, lambda: list(clients.map(send, paths))), {}


def _page(system: RunningSystem, paths: Sequence[Path]) -> Sent:
    with chromium() as browser:
        page = browser.new_page()
        page.goto(system.address)

        def label() -> None:
            page.set_input_files("#files", paths)
            page.click("#go")
            expect(page.locator("#status")).to_contain_text(f"Done: {len(paths):,} ", timeout=ANSWER_SECONDS * 1000)

        took = _timed(system, label)
        spent = [one.cpu_times() for one in psutil.Process().children(recursive=True) if _is_browser(one)]
        return *took, {BROWSER: sum(one.user + one.system for one in spent)}


PAGE = "the page"
WAYS: dict[str, Callable[[RunningSystem, Sequence[Path]], Sent]] = {
    "shoal classify": _classify,
    f"{CLIENTS} clients": _clients,
    PAGE: _page,
}


def _timed(system: RunningSystem, label: Callable[[], object]) -> tuple[float, float]:
    """Seconds until `label` returns, and until the first label is stored."""
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as watch:
        first = watch.submit(_first_label, system, began)
        label()
        return time.perf_counter() - began, first.result()


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


def _is_browser(process: psutil.Process) -> bool:
    return "chrom" in process.name()


def _core_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _first_label(system: RunningSystem, began: float) -> float:
    s3, bucket = system.client("s3"), system.settings.out_bucket

    def stored() -> bool:
        return bool(s3.list_objects_v2(Bucket=bucket, MaxKeys=1)["KeyCount"])

    wait_for(stored, ANSWER_SECONDS, "no label came", every_seconds=0.1)
    return time.perf_counter() - began


def usual_system(kept: Path | None = None) -> AbstractContextManager[RunningSystem]:
    """A system with the settings that a new user has, not with those that make other measurements short."""
    usual = Settings()
    return running(
        kept,
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
                part, times = part_of(" ".join(process.cmdline())), process.cpu_times()
                # Its checkpoints are written by children that live for a moment.
                children = times.children_user + times.children_system if part == STORE else 0.0
                self._last[process.pid] = part, times.user + times.system + children
            except psutil.Error:
                continue  # it ended meanwhile

    @property
    def milliseconds(self) -> dict[str, float]:
        """Core-milliseconds of a photo, by part."""
        total: dict[str, float] = defaultdict(float)
        for pid, (part, seconds) in self._last.items():
            total[part] += (seconds - self._begin.get(pid, 0.0)) * 1000 / self._photos
        return dict(total)
