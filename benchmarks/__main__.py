"""`python -m benchmarks`: what the pipeline loses between the queue and the label, in one run on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import requests
from rich.console import Console
from rich.table import Table

from benchmarks import photos
from benchmarks.system import System, wait_for
from inference.process import Recogniser
from inference.process import load as load_recogniser
from shoal.settings import load

PHOTOS = 200
BATCH = 8  # the worker's
ROUNDS = 5  # the median counts
FIRST_LABEL_ROUNDS = 5
DECODE_THREADS = 4  # the worker's
UPLOADS_AT_ONCE = 4

console = Console(highlight=False)


def main() -> None:
    """Measure and print the table."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started is stopped
    settings = load()
    found = photos.fetch(settings.cache_dir)
    payloads = [found[number % len(found)].read_bytes() for number in range(PHOTOS)]
    recogniser = load_recogniser(
        settings.model, settings.engine, settings.cache_dir, None, settings.max_pixels, settings.max_file_bytes
    )
    console.print(f"{_machine()}; {recogniser.model} on {recogniser.engine}; median of {ROUNDS}")
    mean_kb = sum(map(len, payloads)) / len(payloads) / 1000
    console.print(f"{PHOTOS} photos of {mean_kb:.0f} KB on average\n")

    rates = {
        "bare engine, batches of 8": _median(lambda: bare_engine(recogniser, payloads)),
        "decode + engine": _median(lambda: decode_and_engine(recogniser, payloads)),
    }
    for workers in (1, 2):
        with running(MIN_INSTANCES=workers, MAX_INSTANCES=workers) as system:
            warm_up(system, payloads, workers)
            name = f"embedded pipeline, {workers} worker{'s' * (workers > 1)}"
            rates[name] = _median(lambda: whole_pipeline(system, payloads))
    _print_rates(rates)
    _print_first_label(first_label(payloads[0]))


def bare_engine(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images a second of inference alone, on tensors that are there already."""
    tensors = [recogniser.decode(payload) for payload in payloads]
    began = time.perf_counter()
    for start in range(0, len(tensors), BATCH):
        recogniser.infer(tensors[start : start + BATCH])
    return len(tensors) / (time.perf_counter() - began)


def decode_and_engine(recogniser: Recogniser, payloads: Sequence[bytes]) -> float:
    """Images a second of decoding on threads and inference behind it: what a worker could reach."""
    began = time.perf_counter()
    with ThreadPoolExecutor(DECODE_THREADS) as decoders:
        batch = []
        for tensor in decoders.map(recogniser.decode, payloads):
            batch.append(tensor)
            if len(batch) == BATCH:
                recogniser.infer(batch)
                batch = []
        recogniser.infer(batch)
    return len(payloads) / (time.perf_counter() - began)


def whole_pipeline(system: System, payloads: Sequence[bytes]) -> float:
    """Images a second from the first byte uploaded to the last result in the output bucket."""
    batch = requests.post(f"{system.address}/batches", timeout=30).json()["batch"]
    began = time.perf_counter()

    def send(first: int) -> None:
        group = payloads[first : first + BATCH]
        files = [("inputFile", (f"{first + n}.jpg", one)) for n, one in enumerate(group)]
        requests.post(
            f"{system.address}/batches/{batch}/photos?first={first}", files=files, timeout=120
        ).raise_for_status()

    with ThreadPoolExecutor(UPLOADS_AT_ONCE) as senders:
        list(senders.map(send, range(0, len(payloads), BATCH)))
    s3, bucket = system.client("s3"), system.settings.out_bucket

    def all_stored() -> bool:
        return bool(s3.list_objects_v2(Bucket=bucket, Prefix=batch)["KeyCount"] == len(payloads))

    # Looking costs the machine that is measured some milliseconds: not too often.
    wait_for(all_stored, 300, "the results did not come", every_seconds=0.25)
    return len(payloads) / (time.perf_counter() - began)


def warm_up(system: System, payloads: Sequence[bytes], workers: int) -> None:
    """Wait for the workers, then have each of them label something."""
    wait_for(lambda: len(system.workers()) == workers, 60, "the workers did not come")
    whole_pipeline(system, payloads[:64])


def first_label(payload: bytes) -> list[float]:
    """Seconds from an upload to the label in the answer, each time on an empty pool; a boot of 1 s is part of it."""
    seconds = []
    with running(QUIET_SECONDS=1, LOCAL_BOOT_SECONDS=1) as system:
        for _ in range(FIRST_LABEL_ROUNDS):
            system.wait_until_empty()
            began = time.perf_counter()
            requests.post(system.address, files={"inputFile": ("a.jpg", payload)}, timeout=120).raise_for_status()
            seconds.append(time.perf_counter() - began)
    return seconds


@contextmanager
def running(**settings: object) -> Iterator[System]:
    """A system of its own for one measurement."""
    folder = Path(tempfile.mkdtemp(prefix="shoal-bench-"))
    system = System(folder / "state", **settings)
    try:
        system.start()
        yield system
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _median(measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(ROUNDS))


def _machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {len(os.sched_getaffinity(0))} cores"


def _print_rates(rates: dict[str, float]) -> None:
    bare = next(iter(rates.values()))
    table = Table("", "images/s", "of the bare engine", title="Throughput")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.1f}", f"{rate / bare:.0%}")
    console.print(table)


def _print_first_label(seconds: Sequence[float]) -> None:
    middle = statistics.median(seconds)
    console.print(
        f"\nUpload on an empty pool to first label: {middle:.2f} s (median of {len(seconds)}, "
        f"{min(seconds):.2f} to {max(seconds):.2f}); 1 s of it is the instance's boot."
    )


if __name__ == "__main__":
    main()
