"""`python -m benchmarks.attacks.too_many_photos`: photos come four times as fast as they are taken; who is served?

First it measures how many photos a second are accepted, each in a request of its own. Then photos come at four times
that rate, whatever becomes of them. Beside them others ask for health, pages and answers. The order that does the
least harm: health, pages, answers, intake. So the first three are answered as if nothing were, and photos that are too
many are refused with 429 or 503 and a time to come back. Exits with status 1 when that does not hold, when fewer photos
are accepted than a share of what was accepted before, or when one that was accepted has no result.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import random
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median, quantiles

import click
from rich.console import Console
from rich.table import Table

from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from benchmarks.torture import colours
from benchmarks.torture.coloured_system import coloured_system

SENDERS = tuple(f"127.0.0.{last}" for last in range(3, 10))
MOST_A_SENDER = 250  # connections; the server closes more than 256 of one address
OTHERS = "127.0.0.10"
CLOSED_AT_ONCE = 32  # requests under way while the rate is measured
PAUSE_SECONDS = 0.05  # between two requests of the others
ALLOWED_SECONDS = 0.5  # for 95 of 100 answers to the others
LEAST_SHARE = 0.7  # of the measured rate, that is still accepted
RESULT_SECONDS = 180.0
KINDS = 50  # different photos
ACCEPTED = (200, 202)  # 200: labelled already
REFUSED = (429, 503)
BROKEN = 0  # instead of a status: the connection was closed without an answer
NOT_SENT = -1  # a photo for which its sender had no connection left


@dataclass(frozen=True, slots=True)
class Told:
    """What came back for one photo. at: seconds since the first was sent. batch: of an accepted one.

    again: what Retry-After says.
    """

    status: int
    seconds: float
    at: float = 0.0
    batch: str = ""
    again: str = ""


class Sender:
    """Sends photos from one address, on connections that it keeps."""

    def __init__(self, port: int, address: str, bodies: Sequence[bytes]) -> None:
        self._began = time.monotonic()
        self._port = port
        self._address = address
        self._bodies = bodies
        self._free: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._under_way = 0
        self.told: list[Told] = []

    async def send(self) -> None:
        """Send one photo."""
        began = time.perf_counter()
        if self._under_way >= MOST_A_SENDER:
            self.told.append(Told(NOT_SENT, 0.0))
            return
        self._under_way += 1
        try:
            self.told.append(await self._exchange(began))
        except (OSError, ValueError, asyncio.IncompleteReadError):
            self.told.append(Told(BROKEN, time.perf_counter() - began))
        finally:
            self._under_way -= 1

    async def _exchange(self, began: float) -> Told:
        if self._free:
            reader, writer = self._free.pop()
        else:
            source = (self._address, 0)
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=source)
        try:
            writer.write(random.choice(self._bodies))
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            fields = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:-2])
            await reader.readexactly(int(fields["content-length"]))
        except BaseException:
            writer.close()
            raise
        if fields.get("connection") == "close":
            writer.close()
        else:
            self._free.append((reader, writer))
        seconds = time.perf_counter() - began
        batch = fields.get("location", "").rpartition("/")[2]
        at, again = time.monotonic() - self._began, fields.get("retry-after", "")
        return Told(int(head.split(" ", 2)[1]), seconds, at, batch, again)


def _request(photo: bytes) -> bytes:
    head = 'Content-Disposition: form-data; name="inputFile"; filename="a.png"'
    body = f"--x\r\n{head}\r\n\r\n".encode() + photo + b"\r\n--x--\r\n"
    lines = ("POST /v1/batches HTTP/1.1", "Host: 127.0.0.1", "Content-Type: multipart/form-data; boundary=x")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body


async def _send(port: int, seconds: float, rate: float) -> list[Told]:
    """Send photos for so many seconds. rate: photos a second; 0 sends one when another is answered."""
    bodies = [_request(colours.draw(random.Random(number))[0]) for number in range(KINDS)]
    senders = [Sender(port, address, bodies) for address in SENDERS]
    began = time.monotonic()

    async def again_and_again(number: int) -> None:
        while time.monotonic() < began + seconds:
            await senders[number % len(senders)].send()

    if not rate:
        await asyncio.gather(*map(again_and_again, range(CLOSED_AT_ONCE)))
    running = set()
    for number in range(round(seconds * rate)):
        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
        task = asyncio.ensure_future(senders[number % len(senders)].send())
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return [told for sender in senders for told in sender.told]


def send(port: int, seconds: float, rate: float = 0.0) -> list[Told]:
    """What was told of the photos that were sent. rate: as in `_send`."""
    return asyncio.run(_send(port, seconds, rate))


class Other:
    """Asks for one thing again and again, each time on a connection of its own."""

    def __init__(self, port: int, path: str) -> None:
        self._port = port
        self._path = path
        self.seconds: list[float] = []
        self.lost = 0

    def run(self, over: threading.Event) -> None:
        """Ask until it is over."""
        while not over.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            line = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30, source_address=(OTHERS, 0))
            try:
                line.request("GET", self._path, headers={"Accept": "text/html"})
                answer = line.getresponse()
                answer.read()
                self.lost += answer.status != 200
            except (OSError, http.client.HTTPException):
                self.lost += 1
            finally:
                line.close()
            self.seconds.append(time.perf_counter() - began)


@contextmanager
def asking(others: Mapping[str, Other]) -> Iterator[threading.Event]:
    """Let the others ask meanwhile. Gives the event that ends it."""
    over = threading.Event()
    with ThreadPoolExecutor(len(others)) as threads:
        for other in others.values():
            threads.submit(other.run, over)
        try:
            yield over
        finally:
            over.set()


def others_of(system: RunningSystem, batch: str) -> dict[str, Other]:
    """Who asks for what, the most urgent first."""
    paths = {"health": "/healthz", "pages": "/", "answers": f"/batches/{batch}.json"}
    return {name: Other(system.port, path) for name, path in paths.items()}


def row(name: str, seconds: Sequence[float], lost: int | str) -> tuple[str, ...]:
    """A row of the table, in milliseconds."""
    if len(seconds) < 2:
        return (name, str(len(seconds)), "", "", "", str(lost))
    figures = (median(seconds), quantiles(seconds, n=20)[-1], max(seconds))
    return (name, str(len(seconds)), *(f"{1000 * one:.0f}" for one in figures), str(lost))


def unanswered(system: RunningSystem, batches: set[str]) -> int:
    """How many accepted batches, of one photo each, have no result."""
    return len(batches - {key.partition("/")[0] for key in system.keys(system.settings.out_bucket)})


def accepted_per_second(told: Sequence[Told], seconds: float) -> float:
    """Photos a second that were accepted in the first `seconds`."""
    return sum(one.status in ACCEPTED and one.at <= seconds for one in told) / seconds


def wrong_in(others: Mapping[str, Other], told: Sequence[Told], accepted: float, measured: float) -> list[str]:
    """Sentences on what does not hold. accepted, measured: photos a second."""
    wrong = [f"{name}: {one.lost} got no answer" for name, one in others.items() if one.lost]
    for name, one in others.items():
        if quantiles(one.seconds, n=20)[-1] > ALLOWED_SECONDS:
            wrong.append(f"{name}: the 95th percentile is above {ALLOWED_SECONDS:g} s")
    if strange := Counter(one.status for one in told if one.status not in (NOT_SENT, *ACCEPTED, *REFUSED)):
        wrong.append(f"photos were answered with {dict(strange)}; 0 is a closed connection")
    if silent := sum(one.status in REFUSED and not one.again for one in told):
        wrong.append(f"{silent} refusals do not say when to come back")
    if accepted < LEAST_SHARE * measured:
        wrong.append(f"{accepted:.0f} photos a second were accepted, and {measured:.0f} could be")
    return wrong


@click.command()
@click.option("--seconds", default=30.0, show_default=True, help="How long too many photos come.")
@click.option("--times", default=4.0, show_default=True, help="How many times what is accepted.")
def main(seconds: float, times: float) -> None:
    """Send a Shoal of its own more photos than it can take."""
    table = Table("", "requests", "median ms", "p95 ms", "slowest ms", "no answer")
    spawn = multiprocessing.get_context("spawn")
    with coloured_system() as system, ProcessPoolExecutor(1, spawn) as aside:

        def sent(*how: float) -> list[Told]:
            sending: Future[list[Told]] = aside.submit(send, system.port, *how)
            return sending.result()

        first = sent(2.0)
        quiet, attacked = (others_of(system, first[0].batch) for _ in range(2))
        wait_for(lambda: not unanswered(system, {first[0].batch}), RESULT_SECONDS, "the first photo has no result")
        with asking(quiet) as over:
            over.wait(seconds / 3)
        before = sent(seconds / 3)
        measured = accepted_per_second(before, seconds / 3)
        with asking(attacked):
            told = sent(seconds, times * measured)
        batches = {one.batch for one in (*first, *before, *told) if one.status in ACCEPTED}
        with suppress(TimeoutError):
            wait_for(lambda: not unanswered(system, batches), RESULT_SECONDS, "", every_seconds=1.0)
        lost = unanswered(system, batches)
    for name, others in (("quiet", quiet), ("too many", attacked)):
        for what, other in others.items():
            table.add_row(*row(f"{name}: {what}", other.seconds, other.lost))
    for what, statuses in (("accepted", ACCEPTED), ("refused", REFUSED)):
        table.add_row(*row(f"intake, {what}", [one.seconds for one in told if one.status in statuses], ""))
    accepted = accepted_per_second(told, seconds)
    wrong = wrong_in(attacked, told, accepted, measured) + [f"{lost} accepted photos have no result"] * bool(lost)
    console = Console(highlight=False)
    console.print(table)
    console.print(f"accepted with no more than can be: {measured:.0f} a second; sent: {times * measured:.0f}; ", end="")
    console.print(f"accepted of them: {accepted:.0f}; answers: {dict(Counter(one.status for one in told))}")
    for sentence in wrong:
        console.print(sentence, style="bold red", markup=False)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
