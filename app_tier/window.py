"""How many messages a worker may hold at a time, how many it holds, and how long it held any."""

from __future__ import annotations

import threading
import time


class Window:
    """Places for messages. A place is taken before a message is asked for and given back when it is done with.

    Safe for many threads; times are `time.monotonic()`.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._held = 0
        self._busy_seconds = 0.0
        self._since = time.monotonic()  # when it last became busy or idle
        self._changed = threading.Condition()

    def take(self, most: int, wait_seconds: float) -> int:
        """Wait for `most` free places and take them; take what there are, perhaps none, when that lasts too long.

        So a busy worker asks for many messages in a call, and not for one after each that it has finished.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free >= most, wait_seconds)
            count = min(most, self._free)
            self._free -= count
            return count

    def settle(self, places: int, messages: int) -> None:
        """`messages` came for the `places` that were taken; the other places are free again."""
        with self._changed:
            if messages and not self._held:
                self._since = time.monotonic()
            self._held += messages
            self._free += places - messages
            self._changed.notify()

    def let_go(self, messages: int) -> None:
        """Messages are done with, and their places free."""
        with self._changed:
            self._held -= messages
            self._free += messages
            if messages and not self._held:
                now = time.monotonic()
                self._busy_seconds += now - self._since
                self._since = now
            self._changed.notify()

    @property
    def held(self) -> int:
        """Messages that are worked on."""
        return self._held

    @property
    def busy_seconds(self) -> float:
        """Time in which it held any, until now."""
        with self._changed:
            return self._busy_seconds + (time.monotonic() - self._since if self._held else 0.0)

    @property
    def idle_since(self) -> float | None:
        """Since when it holds none; None while it holds one."""
        with self._changed:
            return None if self._held else self._since
