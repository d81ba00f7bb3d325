"""Rows of a run as one long answer: few at a time, because each holds a thread for as long as its client reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from web_tier.problems import Problem

AT_ONCE = 16


class HeldDownload:
    """Lines of an answer, and a place among the downloads, which `close` gives back."""

    def __init__(self, lines: Iterator[bytes], places: threading.BoundedSemaphore) -> None:
        self._lines = lines
        self._places = places
        self._held = True

    def __iter__(self) -> HeldDownload:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)

    def close(self) -> None:
        """The server calls it at the end, also if the client has left. A second call does nothing."""
        if self._held:
            self._held = False
            self._places.release()


class Downloads:
    """The places of one web process."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._places = threading.BoundedSemaphore(at_once)

    def hold(self, lines: Iterator[bytes]) -> HeldDownload:
        """Take a place. Raises Problem (503) when all are taken."""
        if not self._places.acquire(blocking=False):
            raise Problem(503, "Many results are downloaded at the moment. Please try again shortly.", retry_after=10)
        return HeldDownload(lines, self._places)
