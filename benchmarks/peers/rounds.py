"""A client that waits in its own process for rounds: both sides of a comparison use it.

The parent writes the number of photos on a line; the client does them and answers with the seconds.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROUND_SECONDS = 300.0


def serve(folder: str, label_all: Callable[[list[bytes]], None]) -> None:
    """The client's side: photos are the files of `folder`, repeated."""
    photos = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    for line in sys.stdin:
        payloads = [photos[number % len(photos)] for number in range(int(line))]
        began = time.perf_counter()
        label_all(payloads)
        print(time.perf_counter() - began, flush=True)


def play(client: subprocess.Popen[str], photos: int) -> float:
    """The parent's side: images per second of a round. Raises RuntimeError if the client has failed."""
    assert client.stdin
    assert client.stdout
    client.stdin.write(f"{photos}\n")
    client.stdin.flush()
    answer = client.stdout.readline()
    if not answer:
        raise RuntimeError(f"the client ended with {client.wait(10)}: {' '.join(map(str, client.args))}")  # type: ignore[arg-type]
    return photos / float(answer)
