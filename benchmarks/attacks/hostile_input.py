"""`python -m benchmarks.attacks.hostile_input`: 200 hostile files, and 200 hostile messages to each queue.

None may crash, stall or grow anything by more than 200 MB; each file is answered, and each good photo between the
messages labelled, within ten seconds. Exits with status 1 if that does not hold.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import click
import psutil
import requests
from botocore.exceptions import ClientError
from rich.console import Console
from rich.table import Table

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture import bad_photos, colours
from benchmarks.torture.coloured_system import coloured_system
from shoal.messages import Job, new_batch

ALLOWED_SECONDS = 10.0
ALLOWED_MEGABYTES = 200.0
BETWEEN = 20  # messages between two good photos


class Growth:
    """The most that a process of the system grows while it is watched, in MB, and the processes that ended."""

    def __init__(self, system: RunningSystem) -> None:
        self._before = {one.pid: one for one in system.processes()}
        self._first = {pid: _megabytes(one) for pid, one in self._before.items()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.megabytes = 0.0

    def __enter__(self) -> Growth:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def ended(self) -> list[int]:
        """The process ids of those that have ended."""
        return [pid for pid, one in self._before.items() if not one.is_running()]

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            grown = [_megabytes(one) - self._first[pid] for pid, one in self._before.items()]
            self.megabytes = max(self.megabytes, *grown)


def _megabytes(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def answered(system: RunningSystem, payload: bytes, name: str) -> tuple[float, dict[str, Any]]:
    """Seconds until a photo has its answer, and what is told of it."""
    began = time.perf_counter()
    answer = requests.post(f"{system.address}/v1/batches", files={"inputFile": (name, payload)}, timeout=60)
    sent = answer.json()
    if "batch" not in sent:
        raise RuntimeError(f"{name} is answered with {answer.status_code} {answer.text[:300]}")
    told: dict[str, Any] = {}

    def known() -> bool:
        told.update(requests.get(f"{system.address}/batches/{sent['batch']}.json", timeout=60).json()["photos"][0])
        return bool(told["state"] != "queued")

    wait_for(known, 120, f"{name} has no answer")
    return time.perf_counter() - began, told


def message(choice: random.Random) -> str:
    """A message that none of Shoal's programs would write."""
    good = json.loads(Job(new_batch(time.time()), 0, "a.jpg", "nowhere").to_json())
    makers: tuple[Callable[[], str], ...] = (
        lambda: "[" * choice.choice((1_020, 100_000)),
        lambda: '{"a":' * 5_000,
        lambda: json.dumps(good)[: choice.randrange(len(json.dumps(good)))] or "x",
        lambda: json.dumps(
            good | {choice.choice(list(good)): choice.choice((None, [], {}, 1e308, -1, True, "\ud800"))}
        ),
        lambda: json.dumps(good | {"key": choice.choice(("../../etc/passwd", "/", "a" * 2_000, "b/0/\u202e.jpg", ""))}),
        lambda: json.dumps(good | {"version": choice.choice((0, 99, "1", 1e400))}),
        lambda: json.dumps({"Records": [{"s3": {"object": {"key": "%ZZ"}}}] * choice.randint(1, 50)}),
        lambda: json.dumps(choice.choice(([], {}, 0, "x", None, True, [[]], {"status": "done"}))),
        lambda: "9" * 10_000,
        lambda: "".join(chr(choice.randrange(0x20, 0xD7FF)) for _ in range(500)),
        lambda: json.dumps({"key": good.get("key"), "status": "done", "labels": [{"name": 1}] * 500}),
        lambda: '{"key":1e999,"a":NaN,"b":Infinity}',
    )
    return choice.choice(makers)()


def try_files(system: RunningSystem, count: int, choice: random.Random) -> list[float]:
    """The seconds until each of `count` hostile files is answered: first one in each format of Pillow."""
    found = []
    files = bad_photos.each_format(choice)
    files += [bad_photos.draw(choice) for _ in range(count - len(files))]
    for number, (payload, suffix) in enumerate(files[:count]):
        found.append(answered(system, payload, f"bad-{number}.{suffix}")[0])
    return found


def try_messages(system: RunningSystem, queue: str, count: int, choice: random.Random) -> list[float]:
    """The seconds until each good photo between the hostile messages has its label."""
    sqs, found = system.client("sqs"), []
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    for number in range(count):
        with suppress(ClientError):  # SQS refuses some characters itself
            sqs.send_message(QueueUrl=url, MessageBody=message(choice))
        if number % BETWEEN == BETWEEN - 1:
            payload, suffix, label = colours.draw(choice)
            seconds, told = answered(system, payload, f"good.{suffix}")
            if told["label"] != label:
                raise RuntimeError(f"a photo of {label} got {told}")
            found.append(seconds)
    return found


@click.command()
@click.option("--count", default=200, show_default=True, help="Files, and messages to each queue.")
@click.option("--seed", default=1, show_default=True)
def main(count: int, seed: int) -> None:
    """Send hostile files and messages to a Shoal of its own."""
    choice, wrong = random.Random(seed), False
    table = Table("", "answers", "slowest s", "grown MB", "processes ended")
    with coloured_system() as system:
        chosen = system.settings
        for queue in ("", chosen.req_queue, chosen.resp_queue, chosen.dead_queue):
            payload, suffix, _ = colours.draw(choice)
            answered(system, payload, f"warm.{suffix}")
            with Growth(system) as growth:
                tried = try_messages(system, queue, count, choice) if queue else try_files(system, count, choice)
            wrong |= max(tried) > ALLOWED_SECONDS or growth.megabytes > ALLOWED_MEGABYTES or bool(growth.ended)
            what = f"{count} messages to {queue}" if queue else f"{count} files"
            table.add_row(what, str(len(tried)), f"{max(tried):.2f}", f"{growth.megabytes:.0f}", str(len(growth.ended)))
    Console().print(table)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
