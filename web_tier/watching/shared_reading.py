"""A reading that many ask for and that is taken once a second at most."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedReading(Generic[T]):
    """The last reading, taken anew when it is older than `seconds`. Safe for many threads: one reads, others wait."""

    def __init__(self, take: Callable[[], T], seconds: float) -> None:
        self._take = take
        self._seconds = seconds
        self._last: tuple[float, T] | None = None
        self._reading = threading.Lock()

    def read(self) -> T:
        """The reading, at most `seconds` old. Raises what taking it raises."""
        with self._reading:
            if self._last is None or time.monotonic() - self._last[0] >= self._seconds:
                taken = self._take()
                self._last = (time.monotonic(), taken)
            return self._last[1]

    def forget(self) -> None:
        """Take the next reading anew, because something was just changed."""
        with self._reading:
            self._last = None
