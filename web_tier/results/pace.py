"""How often the buckets are looked at beside the response messages."""

from __future__ import annotations

import time

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 6.0
SLOWER = 1.5
# A look of one second is followed by ten without one: a slow store is asked less often.
REST = 10.0


class Pace:
    """Of one page or request. Responses reach the process that queued a photo: where they come in, the buckets are only
    looked at in case that one was lost; what was queued by another process is seen in the buckets alone."""

    def __init__(self) -> None:
        self._pause = FIRST_SECONDS
        self._next = time.monotonic() + FIRST_SECONDS

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return time.monotonic() >= self._next

    def heard(self) -> None:
        """Responses come in here."""
        self._pause = LONGEST_SECONDS

    def looked(self, news: bool, took_seconds: float = 0.0) -> None:
        """The buckets were looked at; news: they knew what had not come by a response."""
        self._pause = FIRST_SECONDS if news else min(LONGEST_SECONDS, SLOWER * self._pause)
        self._next = time.monotonic() + max(self._pause, min(LONGEST_SECONDS, REST * took_seconds))
