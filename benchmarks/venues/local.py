"""`shoal serve`: photos a second for many clients, the time of one photo for one client, and far too many requests.

The clients are other processes on the same cores.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks import engine
from benchmarks.peers import http_client, rounds, servers
from benchmarks.peers.servers import PeerServer, client, wait_until_up
from benchmarks.running.ports import free_port
from benchmarks.running.processes import running
from inference.process import Recogniser

BODY = ("/v1/label", "")
FORM = ("/", "inputFile")
OVERLOAD = 4
OVERLOAD_SECONDS = 60.0
OVERLOAD_CLIENTS = 256
OVERLOAD_WARM_UP_SECONDS = 20.0  # of the same load before: until then its threads and pools of memory grow
PIECE_SECONDS = 10.0


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """`shoal serve` with default settings: its port and process."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    command = [sys.executable, "-m", "shoal_cli", "serve", "--port", str(port), "--results", str(folder / "results")]
    with running(command, {"SHOAL_STATE_DIR": str(folder / "state")}, folder / "serve.log") as process:
        wait_until_up(port, process)
        yield port, psutil.Process(process.pid)


@dataclass(frozen=True)
class ComparedServers:
    """Images/s. tried: each set-up of a peer in its trial. best: of each peer. rounds: name -> rate, a dict a round."""

    tried: dict[PeerServer, float]
    best: Sequence[PeerServer]
    rounds: Sequence[dict[str, float]]


def compare(
    recogniser: Recogniser, cache_dir: Path, photos: Path, count: int, times: int, folder: Path
) -> ComparedServers:
    """Rounds of `count` photos: the bare limit, ours with the photo as body and as form, and each peer at its best."""
    payloads = [path.read_bytes() for path in sorted(photos.iterdir())]
    many = [payloads[number % len(payloads)] for number in range(count)]
    tried, best = servers.best(cache_dir, photos, folder)
    with (
        served(folder / "ours") as (port, _),
        client(port, *BODY, servers.CLIENTS, photos, folder) as body,
        client(port, *FORM, servers.CLIENTS, photos, folder) as form,
    ):
        clients = {"body": body, "form": form}
        for one in (body, form):
            rounds.play(one, servers.WARM_UP_PHOTOS)
        engine.decode_and_infer(recogniser, many[:32])
        found = []
        for _ in range(times):
            theirs = {one.name: servers.measure(cache_dir, one, photos, count, folder) for one in best}
            found.append(_round(recogniser, many, clients) | theirs)
        return ComparedServers(tried, best, found)


def _round(
    recogniser: Recogniser, many: Sequence[bytes], clients: dict[str, subprocess.Popen[str]]
) -> dict[str, float]:
    limit = engine.decode_and_infer(recogniser, many)
    return {"limit": limit} | {name: rounds.play(one, len(many)) for name, one in clients.items()}


def alone(recogniser: Recogniser, photos: Path, folder: Path) -> tuple[float, float]:
    """The median seconds of a photo for one client, and of decoding and inference in this process, in turns."""
    payloads = [path.read_bytes() for path in sorted(photos.iterdir())]
    served_seconds, bare_seconds = [], []
    with served(folder / "alone") as (port, _):
        line = http_client.connect(port)
        http_client.ask(line, BODY[0], *http_client.body_of(payloads[0], ""))  # warm
        for payload in payloads:
            began = time.perf_counter()
            http_client.ask(line, BODY[0], *http_client.body_of(payload, ""))
            served_seconds.append(time.perf_counter() - began)
            began = time.perf_counter()
            recogniser.infer("", [recogniser.decode("", payload)])
            bare_seconds.append(time.perf_counter() - began)
        line.close()
    return statistics.median(served_seconds), statistics.median(bare_seconds)


@dataclass
class OverloadSeen:
    """Far more requests than it can do.

    answered, refused: when each answer came, in seconds from the start. waited: seconds of the answered ones.
    other: any other answer. memory: of the server in bytes, after the warm-up and at the end of each part of the time.
    """

    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    other: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Answers a second in each part of the time."""
        parts = int(OVERLOAD_SECONDS / PIECE_SECONDS)
        counts = [0] * parts
        for at in self.answered:
            counts[min(parts - 1, int(at / PIECE_SECONDS))] += 1
        return [count / PIECE_SECONDS for count in counts]

    @property
    def growth(self) -> tuple[int, int]:
        """How many bytes the memory grew in the first half of the time, and in the second: flat means none in that."""
        half = self.memory[len(self.memory) // 2]
        return half - self.memory[0], self.memory[-1] - half


def overload(photos: Path, rate: float, folder: Path) -> OverloadSeen:
    """Send OVERLOAD times `rate` photos a second for a minute, after a warm-up, whatever is answered."""
    payloads = [path.read_bytes() for path in sorted(photos.iterdir())]
    seen, taking = OverloadSeen(), threading.Lock()
    with served(folder / "overload") as (port, process):
        began = time.monotonic() + OVERLOAD_WARM_UP_SECONDS

        def send(number: int) -> None:
            """One client's share: a request at each of its times, as soon as the one before is answered."""
            line = http_client.connect(port)
            pause = OVERLOAD_CLIENTS / (OVERLOAD * rate)
            due = number / (OVERLOAD * rate) - OVERLOAD_WARM_UP_SECONDS
            while due < OVERLOAD_SECONDS:
                time.sleep(max(0.0, began + due - time.monotonic()))
                asked = time.monotonic()
                status, told = http_client.ask(line, BODY[0], payloads[number % len(payloads)], "image/jpeg")
                with taking:
                    _note(seen, status, told, time.monotonic() - began, time.monotonic() - asked)
                due = max(due + pause, time.monotonic() - began)
            line.close()

        with ThreadPoolExecutor(OVERLOAD_CLIENTS + 1) as clients:
            memory = clients.submit(_memory, process, began)
            for sending in [clients.submit(send, number) for number in range(OVERLOAD_CLIENTS)]:
                sending.result()
            seen.memory = memory.result()
    return seen


def _note(seen: OverloadSeen, status: int, told: bytes, at: float, waited: float) -> None:
    if at < 0:
        return
    if status == 200:
        seen.answered.append(at)
        seen.waited.append(waited)
    elif status == 503:
        seen.refused.append(at)
    else:
        seen.other.append(f"{status}: {told[:100]!r}")


def _memory(process: psutil.Process, began: float) -> list[int]:
    found = []
    for part in range(int(OVERLOAD_SECONDS / PIECE_SECONDS) + 1):
        time.sleep(max(0.0, began + part * PIECE_SECONDS - time.monotonic()))
        found.append(int(process.memory_info().rss))
    return found
