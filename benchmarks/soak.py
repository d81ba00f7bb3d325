"""`python -m benchmarks.soak --minutes 10 --seeds 1,2,3`: the whole system on a hostile cloud, without any loss.

Real photos arrive at a random rate, from clients like the page and from programs that wait for the label. At the end
each accepted photo must have one result and nothing may be left over. Exits with status 1 if anything is wrong.
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import requests
from rich.console import Console
from rich.table import Table

from benchmarks import photos
from benchmarks.running.system import PoolWatch, RunningSystem
from benchmarks.running.waiting import wait_for
from local_cloud.hostile.dice import SCALE
from local_cloud.hostile.journal import JOURNAL_NAME, count
from shoal.settings import load

CAP = 4
MOST_AT_ONCE = 12
PAUSE_SECONDS = 1.0  # on average, between two of them
REST_SECONDS = 8.0  # now and then without any client, so that the pool goes back to zero and must be launched anew
REST_SHARE = 0.05
CLIENTS = 6  # at the same time: each waits for its labels
PROGRAMS_SHARE = 0.3
RESULT_SECONDS = 300.0
GONE_SECONDS = 60.0
# Seconds where the defaults are minutes, so that ten minutes hold many scale-outs, hung boots, lost messages and
# sweeps; and the policy that goes to the cap at once.
SETTINGS: Mapping[str, object] = {
    "POLICY": "per_message",
    "MAX_INSTANCES": CAP,
    "VISIBILITY_SECONDS": 10,
    "SWEEP_SECONDS": 15,
    "BOOT_SECONDS": 30,
    "SILENT_SECONDS": 30,
    "CAPACITY_SECONDS": 180 * SCALE,
    "DRAIN_SECONDS": 30,
}

console = Console(highlight=False)


@dataclass
class SoakOutcome:
    """What a run showed. wrong: one sentence for each fault, empty if there is none."""

    seed: int
    accepted: int = 0
    stored: int = 0
    results: int = 0
    failed: int = 0
    asked: int = 0
    answered: int = 0
    most_instances: int = 0
    dead_letters: int = 0
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Clients:
    """Send photos and record which were accepted. The name of a photo says which it is, so labels can be compared.

    A context manager: when it is left early, nobody waits any longer.
    """

    def __init__(self, system: RunningSystem, payloads: Sequence[bytes]) -> None:
        self._address = system.address
        self._payloads = payloads
        self._lock = threading.Lock()
        self._left = threading.Event()
        self.accepted: set[str] = set()
        self.asked = 0
        self.answered = 0

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._left.set()

    def like_the_page(self, choice: random.Random) -> None:
        """Send some photos again and again until they are accepted, like the page's script; look until all are done."""
        files = [self._file(choice) for _ in range(choice.randint(1, MOST_AT_ONCE))]
        self._expect(len(files))
        batch = self._until_ok(lambda: requests.post(f"{self._address}/batches", timeout=60)).json()["batch"]
        url = f"{self._address}/batches/{batch}"
        taken = self._until_ok(lambda: requests.post(f"{url}/photos?first=0", files=files, timeout=60)).json()
        self._accept(*(f"{batch}/{one['index']:05d}/{one['name']}" for one in taken if one["status"] == "accepted"))

        def done() -> int:
            return int(self._until_ok(lambda: requests.get(f"{url}.json", timeout=60)).json()["done"])

        wait_for(lambda: done() == len(files), RESULT_SECONDS, f"{url} is not done", every_seconds=1.0)
        self._answer(len(files))

    def like_a_program(self, choice: random.Random) -> None:
        """Send one photo; its label is in the answer."""
        name, payload = self._file(choice)[1]
        self._expect(1)
        files = {"inputFile": (name, payload)}
        answer = self._until_ok(lambda: requests.post(self._address, files=files, timeout=RESULT_SECONDS))
        self._accept(f"{answer.headers['Content-Location'].rpartition('/')[2]}/00000/{name}")
        self._answer(answer.text.startswith(f"{Path(name).stem}:"))

    def _expect(self, count: int) -> None:
        with self._lock:
            self.asked += count

    def _accept(self, *keys: str) -> None:
        with self._lock:
            self.accepted.update(keys)

    def _answer(self, count: int) -> None:
        with self._lock:
            self.answered += count

    def _file(self, choice: random.Random) -> tuple[str, tuple[str, bytes]]:
        number = choice.randrange(len(self._payloads))
        return "inputFile", (f"photo-{number}.jpg", self._payloads[number])

    def _until_ok(self, call: Callable[[], requests.Response]) -> requests.Response:
        found: list[requests.Response] = []

        def succeeds() -> bool:
            if self._left.is_set():
                raise TimeoutError("the soak was stopped")
            try:
                answer = call()
            except requests.RequestException:
                return False
            found.append(answer)
            return answer.ok

        wait_for(succeeds, RESULT_SECONDS, "the web tier took nothing", every_seconds=0.5)
        return found[-1]


def soak(seed: int, minutes: float, rate: float, payloads: Sequence[bytes], folder: Path) -> SoakOutcome:
    """One run in its own state folder."""
    outcome = SoakOutcome(seed)
    began = time.monotonic()
    system = RunningSystem(folder, ["--hostile", str(seed), "--hostile-rate", str(rate)], **SETTINGS)
    try:
        system.start()
        clients = Clients(system, payloads)
        with PoolWatch(system) as watch:
            outcome.wrong += submit(clients, seed, minutes * 60)
            settle(system, outcome)
        outcome.accepted, outcome.asked, outcome.answered = len(clients.accepted), clients.asked, clients.answered
        outcome.most_instances = watch.most
        inspect(system, clients.accepted, outcome)
    finally:
        if system.stop() != 0:
            outcome.wrong.append(f"shoal up ended with status {system.process.returncode}: {system.text()[-2000:]}")
    check_processes(system, outcome)
    outcome.faults = count(folder / "logs" / JOURNAL_NAME)
    outcome.seconds = time.monotonic() - began
    judge(outcome)
    return outcome


def submit(clients: Clients, seed: int, seconds: float) -> list[str]:
    """Send photos at random times until the time is over and all clients have ended: the pool grows and shrinks.

    Returns what clients complained of.
    """
    choice = random.Random(seed)
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    free = threading.Semaphore(CLIENTS)
    sent: list[Future[None]] = []
    with ThreadPoolExecutor(CLIENTS) as threads, clients:
        while time.monotonic() < deadline:
            free.acquire()
            how = clients.like_a_program if choice.random() < PROGRAMS_SHARE else clients.like_the_page
            sent.append(threads.submit(how, random.Random(choice.random())))
            sent[-1].add_done_callback(lambda _: free.release())
            pause.wait(choice.expovariate(1 / PAUSE_SECONDS))
            if choice.random() < REST_SHARE:
                wait(sent)
                pause.wait(REST_SECONDS)
    return [f"a client: {error!r}" for one in sent if (error := one.exception())]


def settle(system: RunningSystem, outcome: SoakOutcome) -> None:
    """Wait until every stored photo has a result, the queue is empty and no instance is left."""
    chosen = system.settings
    waits: list[tuple[Callable[[], object], float, str]] = [
        (
            lambda: system.keys(chosen.in_bucket) <= system.keys(chosen.out_bucket),
            RESULT_SECONDS,
            "results are missing",
        ),
        (lambda: not system.waiting(chosen.req_queue), GONE_SECONDS, "request messages are left"),
        (lambda: not system.machines(), GONE_SECONDS, "instances are left"),
        (lambda: not system.waiting(chosen.resp_queue), GONE_SECONDS, "response messages are left"),
    ]
    for condition, seconds, what in waits:
        try:
            wait_for(condition, seconds, what, every_seconds=1.0)
        except TimeoutError:
            outcome.wrong.append(f"{what} after {seconds:.0f} s")


def inspect(system: RunningSystem, accepted: set[str], outcome: SoakOutcome) -> None:
    """Compare the accepted photos with the buckets."""
    chosen = system.settings
    inputs, outputs = system.keys(chosen.in_bucket), system.keys(chosen.out_bucket)
    outcome.stored, outcome.results = len(inputs), len(outputs)
    outcome.dead_letters = system.waiting(chosen.dead_queue)
    for keys, what in (
        (accepted - inputs, "accepted photos are not in the input bucket"),
        (inputs - outputs, "photos have no result"),
        (outputs - inputs, "results have no photo"),
    ):
        if keys:
            outcome.wrong.append(f"{len(keys)} {what}, for instance {min(keys)}")
    s3 = system.client("s3")
    labels: dict[str, set[str]] = {}
    for key in outputs:
        result = json.loads(s3.get_object(Bucket=chosen.out_bucket, Key=key)["Body"].read())
        outcome.failed += result["status"] != "done"
        if result["status"] == "done":
            labels.setdefault(key.rpartition("/")[2], set()).add(result["labels"][0]["name"])
    if unsure := [name for name, found in labels.items() if len(found) > 1]:
        outcome.wrong.append(f"{len(unsure)} photos got different labels at different times, for instance {unsure[0]}")


def check_processes(system: RunningSystem, outcome: SoakOutcome) -> None:
    """Check that no process outlives the system."""
    try:
        wait_for(lambda: not system.processes(), GONE_SECONDS, "processes are left")
    except TimeoutError:
        outcome.wrong.append(f"processes are left: {[' '.join(one.cmdline()) for one in system.processes()]}")


def judge(outcome: SoakOutcome) -> None:
    """Check the numbers."""
    for holds, what in (
        (outcome.accepted > 0, "no photo was accepted"),
        (outcome.answered == outcome.asked, f"clients wait in vain for {outcome.asked - outcome.answered} labels"),
        (outcome.failed == 0, f"{outcome.failed} photos have a failed result"),
        (outcome.most_instances <= CAP, f"{outcome.most_instances} instances at a cap of {CAP}"),
        (outcome.dead_letters == 0, f"{outcome.dead_letters} dead letters"),
        (bool(outcome.faults), "no fault was injected: this run shows nothing"),
    ):
        if not holds:
            outcome.wrong.append(what)


def print_outcomes(outcomes: Sequence[SoakOutcome]) -> None:
    """Print both tables and the faults."""
    rows: list[tuple[str, Callable[[SoakOutcome], Any]]] = [
        ("photos accepted", lambda one: one.accepted),
        ("photos stored", lambda one: one.stored),
        ("results", lambda one: one.results),
        ("failed results", lambda one: one.failed),
        ("photos that clients wait for", lambda one: one.asked),
        ("... answered with a label", lambda one: one.answered),
        (f"most instances (cap {CAP})", lambda one: one.most_instances),
        ("dead letters", lambda one: one.dead_letters),
        ("faults injected", lambda one: one.faults.total()),
        ("seconds", lambda one: round(one.seconds)),
        ("wrong", lambda one: len(one.wrong) or "nothing"),
    ]
    _print("Soak", rows, outcomes)
    kinds = sorted(set().union(*(one.faults for one in outcomes)))
    _print("Faults injected", [(kind, partial(_count, kind)) for kind in kinds], outcomes)
    for one in outcomes:
        for sentence in one.wrong:
            console.print(f"[bold red]seed {one.seed}:[/] {sentence}")


def _count(kind: str, outcome: SoakOutcome) -> int:
    return outcome.faults[kind]


def _print(
    title: str, rows: Sequence[tuple[str, Callable[[SoakOutcome], Any]]], outcomes: Sequence[SoakOutcome]
) -> None:
    table = Table("", *(f"seed {one.seed}" for one in outcomes), title=title)
    for name, value in rows:
        table.add_row(name, *(str(value(one)) for one in outcomes))
    console.print(table)


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True, help="How long photos come in.")
@click.option("--seeds", default="1,2,3", show_default=True, help="One run for each.")
@click.option("--rate", type=float, default=1.0, show_default=True, help="A factor on how often faults come.")
@click.option("--keep", type=click.Path(path_type=Path), help="Keep the state folders here.")
def main(minutes: float, seeds: str, rate: float, keep: Path | None) -> None:
    """Soak the whole system on a hostile cloud."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started is stopped
    payloads = [path.read_bytes() for path in photos.fetch(load().cache_dir)]
    place = keep or Path(tempfile.mkdtemp(prefix="shoal-soak-"))
    outcomes = []
    for seed in (int(word) for word in seeds.split(",")):
        outcomes.append(soak(seed, minutes, rate, payloads, place / f"seed-{seed}"))
        print_outcomes(outcomes)
    if not keep:
        shutil.rmtree(place, ignore_errors=True)
    sys.exit(any(one.wrong for one in outcomes))


if __name__ == "__main__":
    main()
