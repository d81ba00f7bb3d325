"""`python -m benchmarks.torture.steady --minutes 10`: 1,000 submissions a minute, each a tiny photo of its own.

Nothing may be lost, and the 99th percentile of the times until a submission is accepted must be below half a second.
The engine takes a photo's colour for its label, so what is measured is everything but the model. Status 1 otherwise.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from statistics import median, quantiles

import click
import requests
from rich.console import Console
from rich.table import Table

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture import colours
from benchmarks.torture.coloured_system import coloured_system

ALLOWED_SECONDS = 0.5
CLIENTS = 32
ANSWER_SECONDS = 120.0


class Submitter:
    """Sends photos at times that are given, and keeps how long each took."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._here = threading.local()
        self.seconds: list[float] = []
        self.labels: dict[str, str] = {}  # of accepted photos: key and the label that it must get
        self.refused: list[str] = []

    def send(self, photo: tuple[bytes, str, str], number: int) -> None:
        """Send one photo."""
        session = self._here.__dict__.setdefault("session", requests.Session())
        payload, suffix, label = photo
        name = f"{number}.{suffix}"
        began = time.perf_counter()
        answer = session.post(f"{self._address}/v1/batches", files={"inputFile": (name, payload)}, timeout=60)
        self.seconds.append(time.perf_counter() - began)
        if answer.ok:
            self.labels[f"{answer.json()['batch']}/00000/{name}"] = label
        else:
            self.refused.append(f"{answer.status_code} {answer.text[:200]}")


def submit(submitter: Submitter, choice: random.Random, minutes: float, a_minute: int) -> None:
    """Send at even times, whatever the answers take."""
    drawn = [colours.draw(choice) for _ in range(200)]
    began, pause = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(CLIENTS) as clients:
        for number in range(round(minutes * a_minute)):
            pause.wait(max(0.0, began + 60 * number / a_minute - time.monotonic()))
            clients.submit(submitter.send, choice.choice(drawn), number)


def missing(system: RunningSystem, submitter: Submitter) -> set[str]:
    """The keys of accepted photos without a result."""
    return submitter.labels.keys() - system.keys(system.settings.out_bucket)


def row(seconds: Sequence[float]) -> list[str]:
    """Median, 99th percentile and most, in milliseconds."""
    return [f"{1000 * one:.0f} ms" for one in (median(seconds), quantiles(seconds, n=100)[-1], max(seconds))]


@click.command()
@click.option("--minutes", default=10.0, show_default=True)
@click.option("--a-minute", default=1_000, show_default=True, help="Submissions.")
def main(minutes: float, a_minute: int) -> None:
    """Send photos to a Shoal of its own at a steady rate."""
    with coloured_system() as system:
        submitter = Submitter(system.address)
        submit(submitter, random.Random(1), minutes, a_minute)
        with suppress(TimeoutError):
            wait_for(lambda: not missing(system, submitter), ANSWER_SECONDS, "photos have no result", every_seconds=1.0)
        lost = len(missing(system, submitter))
    table = Table("submissions", "accepted", "lost", "median", "p99", "slowest")
    table.add_row(str(len(submitter.seconds)), str(len(submitter.labels)), str(lost), *row(submitter.seconds))
    Console().print(table)
    for sentence in submitter.refused[:10]:
        Console().print(sentence, style="bold red", markup=False)
    sys.exit(bool(submitter.refused or lost) or quantiles(submitter.seconds, n=100)[-1] > ALLOWED_SECONDS)


if __name__ == "__main__":
    main()
