"""How many messages a worker may have in progress, how many are, and for how long any was."""

from __future__ import annotations

import math
import threading
import time

MORE_EACH = 2  # slots for each message that left: 1, 3, 9, 27 after a worker's start


class Prefetch:
    """Slots for messages. Take a slot before asking for a message; it is free again when the message leaves.

    There are as many slots as messages are finished in `seconds`, but at least `least` and at most `most`. Until the
    first message is finished there are `first` slots, then two more for each message finished: as long as it is not
    known how long a message takes, a worker leaves messages to others, which may have been launched for them. So does
    a slow worker.
    Safe for many threads; times are `time.monotonic()`.
    """

    def __init__(self, most: int, least: int, seconds: float, first: int) -> None:
        self._most = most
        self._least = least
        self._seconds = seconds
        self._first = first
        self._slots = first
        self._asked = 0
        self._in_progress = 0
        self._done = 0
        self._busy_seconds = 0.0
        self._since = time.monotonic()  # when it last became busy or idle
        self._measured_since = 0.0  # in busy seconds
        self._changed = threading.Condition()
        self.gone = 0  # messages that left

    def take(self, most: int, wait_seconds: float) -> int:
        """Wait for `most` free slots or a third of all, and take them. After `wait_seconds` take those that are free,
        perhaps none. So a busy worker asks for many messages in a call, not for one after each that it finished."""
        with self._changed:
            self._changed.wait_for(lambda: self._free >= min(most, math.ceil(self._slots / 3)), wait_seconds)
            count = max(0, min(most, self._free))
            self._asked += count
            return count

    def settle(self, slots: int, messages: int) -> None:
        """`messages` came for the `slots` that were taken; the other slots are free again."""
        with self._changed:
            if messages and not self._in_progress:
                self._since = time.monotonic()
            self._in_progress += messages
            self._asked -= slots
            self._changed.notify()

    def let_go(self, messages: int) -> None:
        """Free the slots of messages that left."""
        if not messages:
            return
        with self._changed:
            busy = self._busy()
            self._in_progress -= messages
            self._done += messages
            self.gone += messages
            self._measure(busy)
            if not self._in_progress:
                self._busy_seconds = busy
                self._since = time.monotonic()
            self._changed.notify()

    def _measure(self, busy: float) -> None:
        """Set the number of slots by how many messages were finished lately."""
        measured = busy - self._measured_since
        self._slots = min(self._first + MORE_EACH * self.gone, self._enough(self._done, measured))
        if measured > self._seconds:  # let the past count for half of what comes
            self._done //= 2
            self._measured_since += measured / 2

    def _enough(self, done: int, seconds: float) -> int:
        if seconds <= 0:
            return self._most
        return min(self._most, max(self._least, math.ceil(self._seconds * done / seconds)))

    @property
    def _free(self) -> int:
        return self._slots - self._asked - self._in_progress

    def _busy(self) -> float:
        return self._busy_seconds + (time.monotonic() - self._since if self._in_progress else 0.0)

    @property
    def in_progress(self) -> int:
        """Messages in progress."""
        return self._in_progress

    @property
    def busy_seconds(self) -> float:
        """Time until now in which a message was in progress."""
        with self._changed:
            return self._busy()

    @property
    def idle_since(self) -> float | None:
        """Since when no message is in progress; None while one is."""
        with self._changed:
            return None if self._in_progress else self._since
