"""`python -m benchmarks.idle`: the cost of an idle embedded cloud, and the time until Shoal answers."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.running.system import ROOT, START_SECONDS, RunningSystem
from benchmarks.running.waiting import wait_for

READY = "local cloud ready"
SETTLE_SECONDS = 5.0
WATCH_SECONDS = 30.0
STARTS = 3
# What is promised.
MOST_OF_A_CORE = 0.03
MOST_BYTES = 250_000_000
MOST_START_SECONDS = 3.0


@dataclass(frozen=True)
class IdleCost:
    """share: of one core. resident: bytes, of all its processes. starts: seconds from `shoal up` to its page."""

    share: float
    resident: int
    processes: int
    starts: Sequence[float]


def measure() -> IdleCost:
    """Watch an idle embedded cloud for half a minute, then start Shoal a few times."""
    with running_cloud() as processes:
        time.sleep(SETTLE_SECONDS)
        share, resident = use_of(processes)
    return IdleCost(share, resident, len(processes), [seconds_to_page() for _ in range(STARTS)])


def main() -> None:
    """Measure and print."""
    seen = measure()
    print(
        f"idle embedded cloud: {seen.share:.1%} of one core over {WATCH_SECONDS:.0f} s "
        f"(promised {MOST_OF_A_CORE:.0%}), {seen.resident / 1e6:.0f} MB resident in {seen.processes} processes "
        f"(promised {MOST_BYTES / 1e6:.0f} MB)"
    )
    middle, least, most = statistics.median(seen.starts), min(seen.starts), max(seen.starts)
    print(
        f"`shoal up` to a page that answers: {middle:.2f} s, median of {STARTS}, {least:.2f} to {most:.2f} "
        f"(promised {MOST_START_SECONDS:.0f} s)"
    )


@contextmanager
def running_cloud() -> Iterator[Sequence[psutil.Process]]:
    """All processes of a new embedded cloud without instances."""
    folder = Path(tempfile.mkdtemp(prefix="shoal-idle-"))
    (folder / "image").mkdir()
    command = [sys.executable, "-m", "local_cloud", "--state-dir", str(folder), "--image", f"empty={folder / 'image'}"]
    log = folder / "log"
    with log.open("w") as output:
        cloud = subprocess.Popen(command, cwd=ROOT, stdout=output)
    try:
        wait_for(lambda: READY in log.read_text(), START_SECONDS, "the embedded cloud did not start")
        first = psutil.Process(cloud.pid)
        yield [first, *first.children(recursive=True)]
    finally:
        cloud.terminate()
        cloud.wait(START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


def use_of(processes: Sequence[psutil.Process]) -> tuple[float, int]:
    """The share of one core that the processes use for a while, and their resident bytes after it."""

    def used_seconds() -> float:
        return float(sum(one.cpu_times().user + one.cpu_times().system for one in processes))

    began, before = time.monotonic(), used_seconds()
    time.sleep(WATCH_SECONDS)
    share = (used_seconds() - before) / (time.monotonic() - began)
    return share, sum(one.memory_info().rss for one in processes)


def seconds_to_page() -> float:
    """From the command to the first answer of the page, on an existing state folder."""
    folder = Path(tempfile.mkdtemp(prefix="shoal-idle-"))
    system = RunningSystem(folder / "state")
    try:
        system.start()
        system.stop()
        began = time.perf_counter()
        system.start()
        return time.perf_counter() - began
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
