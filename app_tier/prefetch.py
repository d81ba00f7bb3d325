"""How many messages a worker may hold at a time, how many it holds, and how long it held any."""

from __future__ import annotations

import math
import threading
import time


class Prefetch:
    """Places for messages. A place is taken before a message is asked for and given back when it is done with.

    There are as many as messages are done in `seconds`, but at least `least` and at most `most`. Until the first is
    done there are `first`; then one more for every two that are done, so that filling the window takes little from the
    work itself. What a slow worker does not hold is there for another, which may have just been launched for it. Safe
    for many threads; times are `time.monotonic()`.
    """

    def __init__(self, most: int, least: int, seconds: float, first: int) -> None:
        self._most = most
        self._least = least
        self._seconds = seconds
        self._first = first
        self._places = first
        self._asked = 0
        self._held = 0
        self._done = 0
        self._busy_seconds = 0.0
        self._since = time.monotonic()  # when it last became busy or idle
        self._measured_since = 0.0  # in busy seconds
        self._changed = threading.Condition()
        self.gone = 0  # messages let go

    def take(self, most: int, wait_seconds: float) -> int:
        """Wait for `most` free places, or a third of all, and take them; take what there are, perhaps none, when that
        lasts too long.

        So a busy worker asks for many messages in a call, and not for one after each that it has finished.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free >= min(most, math.ceil(self._places / 3)), wait_seconds)
            count = max(0, min(most, self._free))
            self._asked += count
            return count

    def settle(self, places: int, messages: int) -> None:
        """`messages` came for the `places` that were taken; the other places are free again."""
        with self._changed:
            if messages and not self._held:
                self._since = time.monotonic()
            self._held += messages
            self._asked -= places
            self._changed.notify()

    def let_go(self, messages: int) -> None:
        """Messages are done with, and their places free."""
        if not messages:
            return
        with self._changed:
            busy = self._busy()
            self._held -= messages
            self._done += messages
            self.gone += messages
            self._measure(busy)
            if not self._held:
                self._busy_seconds = busy
                self._since = time.monotonic()
            self._changed.notify()

    def _measure(self, busy: float) -> None:
        """How many places there shall be, by how many messages were done lately."""
        measured = busy - self._measured_since
        self._places = min(self._first + self.gone // 2, self._enough(self._done, measured))
        if measured > self._seconds:  # let the past count for half of what comes
            self._done //= 2
            self._measured_since += measured / 2

    def _enough(self, done: int, seconds: float) -> int:
        if seconds <= 0:
            return self._most
        return min(self._most, max(self._least, math.ceil(self._seconds * done / seconds)))

    @property
    def _free(self) -> int:
        return self._places - self._asked - self._held

    def _busy(self) -> float:
        return self._busy_seconds + (time.monotonic() - self._since if self._held else 0.0)

    @property
    def held(self) -> int:
        """Messages that are worked on."""
        return self._held

    @property
    def busy_seconds(self) -> float:
        """Time in which it held any, until now."""
        with self._changed:
            return self._busy()

    @property
    def idle_since(self) -> float | None:
        """Since when it holds none; None while it holds one."""
        with self._changed:
            return None if self._held else self._since
