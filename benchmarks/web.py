"""A web process by itself: photos a second that it takes in, what it adds to a photo's time, and many open pages.

Nothing is labelled: what a worker would say is said at once.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks.running.ports import free_port
from benchmarks.running.processes import embedded_cloud, prepare, running
from benchmarks.running.waiting import wait_for
from shoal.aws import connect
from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import Job, Label, Result
from shoal.ports import Cloud
from shoal.settings import Settings, load
from web_tier.app import create_app
from web_tier.server import WebServer

CLIENTS = 8
START_SECONDS = 60.0
ANSWER = tuple(Label(name, "n01440764", 0.2) for name in ("tench", "goldfish", "great_white_shark", "tabby", "daisy"))
BATCH_PHOTOS = 20
PAGES_A_BATCH = 10
ALL_SECONDS = 120.0
PART_SECONDS = 600.0
MOST_CONNECTIONS = 1_900


@dataclass(frozen=True)
class BenchSite:
    """A web process on an embedded cloud of its own."""

    port: int
    process: psutil.Process
    cloud: Cloud
    environment: Mapping[str, str]


@contextmanager
def site(folder: Path) -> Iterator[BenchSite]:
    """`python -m web_tier`, as a user starts it, and the cloud beside it."""
    folder.mkdir()
    with embedded_cloud(folder) as found:
        port = free_port()
        environment = dict(found) | {"SHOAL_PORT": str(port), "SHOAL_STATE_DIR": str(folder / "cloud")}
        environment["SHOAL_CONNECTIONS_PER_ADDRESS"] = str(MOST_CONNECTIONS)  # all pages come from this machine
        prepare(environment, folder / "prepare.log")
        before = dict(os.environ)
        os.environ.update(environment)
        try:
            cloud = connect(load())
            with running([sys.executable, "-m", "web_tier"], environment, folder / "web.log") as web:
                _wait_for_port(port)
                yield BenchSite(port, psutil.Process(web.pid), cloud, environment)
        finally:
            os.environ.clear()
            os.environ.update(before)


def _wait_for_port(port: int) -> None:
    def answers() -> bool:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            line.request("GET", "/healthz")
            return line.getresponse().status in (200, 404)
        except OSError:
            return False
        finally:
            line.close()

    wait_for(answers, START_SECONDS, "the server did not start")


# Intake


def intake(payloads: Sequence[bytes], folder: Path, rounds: int) -> list[tuple[float, float]]:
    """Photos a second of the API and of the bare server, for each round, one photo a request."""
    with site(folder) as running_site:
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.peers.bare_flask", str(port), str(CLIENTS)]
        with running(command, running_site.environment, folder / "bare.log"):
            _wait_for_port(port)
            kinds = ((running_site.port, "/v1/batches", 202), (port, "/", 200))
            for place in kinds:
                _rate(payloads[: 2 * CLIENTS], *place)  # warm
            rates = []
            for _ in range(rounds):
                ours, bare = (_rate(payloads, *place) for place in kinds)
                rates.append((ours, bare))
                _empty(running_site.cloud)
            return rates


def _rate(payloads: Sequence[bytes], port: int, path: str, status: int) -> float:
    bodies = [_form(payload) for payload in payloads]
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(lambda first: _send(bodies[first::CLIENTS], port, path, status), range(CLIENTS)))
    return len(bodies) / (time.perf_counter() - began)


def _form(payload: bytes) -> bytes:
    head = b'--xyz\r\nContent-Disposition: form-data; name="inputFile"; filename="a.jpg"\r\n\r\n'
    return head + payload + b"\r\n--xyz--\r\n"


def _send(bodies: Sequence[bytes], port: int, path: str, status: int) -> None:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for body in bodies:
        line.request("POST", path, body, {"Content-Type": "multipart/form-data; boundary=xyz"})
        answer = line.getresponse()
        told = answer.read()
        if answer.status != status:
            raise RuntimeError(f"{path} answered {answer.status}: {told[:300]!r}")
    line.close()


def _empty(cloud: Cloud) -> None:
    """Away with the request messages: a queue of thousands is slower, and nobody works here."""
    while received := cloud.requests.receive(10, 0):
        cloud.requests.delete([one.receipt for one in received])


# What the web tier adds to a photo's time


def added_seconds(payloads: Sequence[bytes]) -> list[float]:
    """Of each photo: from its upload to its label in the answer, when store, queues and worker take no time."""
    cloud = memory_cloud(SystemClock())
    settings = Settings(web_threads=16)
    server = WebServer(create_app(settings, cloud, SystemClock()), "127.0.0.1", 0, settings.web_threads)
    stop = threading.Event()
    worker = threading.Thread(target=_label_until, args=(cloud, stop))
    server.start()
    worker.start()
    try:
        _send([_form(payloads[0])] * 8, server.port, "/", 200)  # warm
        return [_seconds_of(_form(payload), server.port) for payload in payloads]
    finally:
        stop.set()
        worker.join()
        server.stop()


def _seconds_of(body: bytes, port: int) -> float:
    began = time.perf_counter()
    _send([body], port, "/", 200)
    return time.perf_counter() - began


def _label_until(cloud: Cloud, stop: threading.Event) -> None:
    while not stop.is_set():
        answer_some(cloud, 0.2)


def answer_some(cloud: Cloud, wait_seconds: float) -> int:
    """Answer up to ten photos as a worker does: store, respond, delete; returns how many."""
    received = cloud.requests.receive(10, wait_seconds)
    by_queue: dict[str, list[str]] = {}
    for message in received:
        job = Job.from_json(message.body)
        text = Result(job.key, "done", ANSWER, model="resnet50").to_json()
        cloud.outputs.put(job.key, text.encode(), "application/json")
        by_queue.setdefault(job.reply_to, []).append(text)
    for reply_to, texts in by_queue.items():
        cloud.replies[reply_to].send(texts)
    if received:
        cloud.requests.delete([one.receipt for one in received])
    return len(received)


# Many open pages


@dataclass(frozen=True)
class Seen:
    """Of one run with open pages. megabytes: the most that the web process held. behind_seconds: from the last answered
    photo to the last page that knew of all of its own."""

    pages: int
    results: int
    megabytes: float
    behind_seconds: float


def open_pages_apart(payload: bytes, pages: int, folder: Path) -> Seen:
    """`open_pages` in a process of its own: the models that other parts have loaded must not slow down the watching."""
    command = [sys.executable, "-m", "benchmarks.web", str(pages), str(folder)]
    told = subprocess.run(command, input=payload, stdout=subprocess.PIPE, check=True, timeout=PART_SECONDS).stdout
    return Seen(**json.loads(told))


def open_pages(payload: bytes, pages: int, folder: Path) -> Seen:
    """Open the pages of some batches in one web process, then answer all photos."""
    with site(folder) as running_site:
        batches = [_upload([payload] * BATCH_PHOTOS, running_site.port) for _ in range(pages // PAGES_A_BATCH)]
        return asyncio.run(_watch_all(running_site, batches * PAGES_A_BATCH))


def _upload(payloads: Sequence[bytes], port: int) -> str:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    part = b'--xyz\r\nContent-Disposition: form-data; name="inputFile"; filename="%d.jpg"\r\n\r\n%b\r\n'
    body = b"".join(part % (number, payload) for number, payload in enumerate(payloads)) + b"--xyz--\r\n"
    line.request("POST", "/v1/batches", body, {"Content-Type": "multipart/form-data; boundary=xyz"})
    answer = line.getresponse()
    batch = json.loads(answer.read())["batch"]
    line.close()
    return str(batch)


async def _watch_all(running_site: BenchSite, batches: Sequence[str]) -> Seen:
    opened = asyncio.Semaphore(0)
    held = PeakMemory(running_site.process)
    watching = [asyncio.create_task(watch_page(running_site.port, batch, opened)) for batch in batches]
    with held:
        for _ in batches:
            await asyncio.wait_for(opened.acquire(), ALL_SECONDS)
        answered = 0
        while answered < len(set(batches)) * BATCH_PHOTOS:
            answered += await asyncio.to_thread(answer_some, running_site.cloud, 1.0)
        began = time.perf_counter()
        results = await asyncio.wait_for(asyncio.gather(*watching), ALL_SECONDS)
        behind = time.perf_counter() - began
    return Seen(len(batches), sum(results), held.most / 1e6, behind)


async def watch_page(port: int, batch: str, opened: asyncio.Semaphore) -> int:
    """One page: its stream to the end; returns how many photos it saw answered by events of results."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /batches/{batch}/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answered, name = 0, ""
    while line := await reader.readline():
        words = line.decode().strip()
        if words.startswith("event: "):
            name = words[7:]
        elif words.startswith("data: ") and name == "snapshot":
            opened.release()
        elif words.startswith("data: ") and name == "results":
            answered += len(json.loads(words[6:]))
    writer.close()
    return answered


class PeakMemory:
    """The most memory that a process held in the block, in bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.most = 0

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            self.most = max(self.most, self._process.memory_info().rss)


if __name__ == "__main__":
    print(json.dumps(asdict(open_pages(sys.stdin.buffer.read(), int(sys.argv[1]), Path(sys.argv[2])))))
