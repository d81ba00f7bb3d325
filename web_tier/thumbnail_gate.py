"""Lets few thumbnails be made at the same time, and few requests wait for one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

AT_ONCE = 2  # decoding a photo of 50 megapixels takes 150 MB
IN_HAND = 32  # requests for thumbnails at the same time; a browser has six
WAIT_SECONDS = 5.0  # two large photos are decoded in this time


class Busy(Exception):
    """There is no turn for this thumbnail now; try again later."""


class ThumbnailGate:
    """Bounds the threads and the seconds that requests for thumbnails take, so that pages and photos are served."""

    def __init__(self, web_threads: int) -> None:
        self._in_hand = threading.BoundedSemaphore(max(1, min(IN_HAND, web_threads // 4)))
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    @contextlib.contextmanager
    def admitted(self) -> Iterator[None]:
        """Be one of the few requests in hand. Raises Busy at once."""
        with _held(self._in_hand, 0):
            yield

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for a turn to decode. Raises Busy after WAIT_SECONDS."""
        with _held(self._turns, WAIT_SECONDS):
            yield


@contextlib.contextmanager
def _held(semaphore: threading.BoundedSemaphore, seconds: float) -> Iterator[None]:
    if not semaphore.acquire(timeout=seconds):
        raise Busy
    try:
        yield
    finally:
        semaphore.release()
