"""`python -m benchmarks.attacks.overload`: one client tries to take all connections; how long do others wait for `/`?

The attacker's address is 127.0.0.2. It wants 10,000 open pages, 5,000 connections that never send the head of a
request, and 200 uploads that come drop by drop, and opens again what is closed. The others' are 127.0.0.3 to 127.0.0.9.
Exits with status 1 when the 95th percentile of their times is above half a second, or when one gets no page.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.synchronize import Event
from pathlib import Path
from statistics import median, quantiles

import click
import requests
from rich.console import Console
from rich.table import Table

from benchmarks.running.system import RunningSystem

ATTACKER = "127.0.0.2"
OTHERS = tuple(f"127.0.0.{last}" for last in range(3, 10))
ALLOWED_SECONDS = 0.5
AGAIN_SECONDS = 5.0  # the attacker waits so long before it opens a connection again
PAUSE_SECONDS = 0.05  # between two requests of the others

STREAM = "GET /batches/{batch}/events?uploading=1 HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = "GET / HTTP/1.1\r\nHost: x\r\n"
UPLOAD = (
    "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 9000000\r\n\r\n"
)


async def _hold(port: int, first: str, drops: bool, began: float) -> None:
    """Keep one connection for ever; with `drops`, send a byte each second."""
    await asyncio.sleep(began)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(ATTACKER, 0))
            writer.write(first.encode())
            while True:
                if drops:
                    with suppress(TimeoutError):
                        if not await asyncio.wait_for(reader.read(65536), 1.0):
                            break
                    writer.write(b"x")
                elif not await reader.read(65536):
                    break
            writer.close()
        await asyncio.sleep(AGAIN_SECONDS)


async def _attack(port: int, batch: str, streams: int, half_open: int, uploads: int, ready: Event) -> None:
    wanted = [(STREAM.format(batch=batch), False)] * streams + [(HALF, False)] * half_open + [(UPLOAD, True)] * uploads
    ramp = AGAIN_SECONDS / len(wanted)
    held = [asyncio.ensure_future(_hold(port, first, drops, at * ramp)) for at, (first, drops) in enumerate(wanted)]
    await asyncio.sleep(AGAIN_SECONDS + 1)
    ready.set()
    await asyncio.gather(*held)


def attack(port: int, batch: str, streams: int, half_open: int, uploads: int, ready: Event) -> None:
    """Attack until the process is ended. ready: set once each connection was opened."""
    asyncio.run(_attack(port, batch, streams, half_open, uploads, ready))


def page_seconds(port: int, seconds: float) -> tuple[list[float], int]:
    """How long others wait for `/`, each on a connection of its own; and how many of them got no page."""
    found, lost, ends, number = [], 0, time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        number += 1
        began = time.perf_counter()
        source = (OTHERS[number % len(OTHERS)], 0)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=source)
        try:
            connection.request("GET", "/", headers={"Accept": "text/html"})
            lost += connection.getresponse().status != 200
        except OSError:
            lost += 1
        finally:
            connection.close()
        found.append(time.perf_counter() - began)
        time.sleep(PAUSE_SECONDS)
    return found, lost


def row(name: str, found: Sequence[float], lost: int) -> tuple[str, ...]:
    """A row of the table, in milliseconds."""
    figures = (median(found), quantiles(found, n=20)[-1], max(found))
    return (name, str(len(found)), *(f"{1000 * one:.0f}" for one in figures), str(lost))


@click.command()
@click.option("--streams", default=10_000, show_default=True)
@click.option("--half-open", default=5_000, show_default=True)
@click.option("--uploads", default=200, show_default=True)
@click.option("--seconds", default=30.0, show_default=True, help="How long the others are watched.")
def main(streams: int, half_open: int, uploads: int, seconds: float) -> None:
    """Attack a Shoal of its own with the connections of one client."""
    folder = Path(tempfile.mkdtemp(prefix="shoal-overload-"))
    system = RunningSystem(folder / "state")
    table = Table("", "requests", "median ms", "p95 ms", "slowest ms", "no page")
    try:
        system.start()
        batch = requests.post(f"{system.address}/batches", timeout=60).json()["batch"]
        table.add_row(*row("quiet", *page_seconds(system.port, seconds / 3)))
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Event()
        attacker = spawn.Process(target=attack, args=(system.port, batch, streams, half_open, uploads, ready))
        attacker.start()
        try:
            ready.wait(60)
            found, lost = page_seconds(system.port, seconds)
        finally:
            attacker.kill()
            attacker.join()
        table.add_row(*row("attacked", found, lost))
    finally:
        system.stop()
        shutil.rmtree(folder, ignore_errors=True)
    Console().print(table)
    sys.exit(bool(lost) or quantiles(found, n=20)[-1] > ALLOWED_SECONDS)


if __name__ == "__main__":
    main()
