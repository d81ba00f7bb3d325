"""How often the buckets are looked at beside the response messages."""

from __future__ import annotations

import time

FIRST_SECONDS = 1.0
LONGEST_SECONDS = 6.0
SLOWER = 1.5
# A look of one second is followed by ten without one: a slow store is asked less often.
REST = 10.0


class Pace:
    """When to look at the buckets next.

    Responses go to the process that queued a photo. While they come in, a look only serves to notice a lost one, so
    looks are rare. The results of photos that another process queued are seen in the buckets alone, so looks are
    frequent while results come that no response tells of.
    """

    def __init__(self) -> None:
        self._pause = FIRST_SECONDS
        self._next = time.monotonic() + FIRST_SECONDS

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return time.monotonic() >= self._next

    def heard(self) -> None:
        """A response came in."""
        self._pause = LONGEST_SECONDS

    def looked(self, news: bool, took_seconds: float = 0.0) -> None:
        """The buckets were looked at.

        news: they had results that no response had told of. took_seconds: how long the look took.
        """
        self._pause = FIRST_SECONDS if news else min(LONGEST_SECONDS, SLOWER * self._pause)
        self._next = time.monotonic() + max(self._pause, min(LONGEST_SECONDS, REST * took_seconds))
