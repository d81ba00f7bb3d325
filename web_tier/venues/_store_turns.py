"""Few photos are stored at the same time, each client in turn, so that the store answers others while many come."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Waiting:
    """A photo that waits for its turn. alone: whether none of its client waited when it came."""

    since: float
    alone: bool
    turn: threading.Event = field(default_factory=threading.Event)


class StoreTurns:
    """Lets `at_once` photos be stored at the same time. Safe for many threads.

    now: a clock in seconds.
    """

    def __init__(self, at_once: int, now: Callable[[], float] = time.monotonic) -> None:
        self._free = at_once
        self._now = now
        self._clients: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        # How long the last photo waited that was its client's only one, and when its turn came.
        self._round = (0.0, 0.0)
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, client: str) -> Iterator[None]:
        """Wait for a turn of this client, and have it for the block."""
        if (mine := self._queued(client)) is not None:
            mine.turn.wait()
        try:
            yield
        finally:
            self._pass_on()

    def wait_seconds(self, client: str) -> float:
        """How long a new photo of this client would wait at least: as long as its oldest does already.

        When none of it waits, as long as another client's only photo waited lately.
        """
        with self._lock:
            if waiting := self._clients.get(client):
                return self._now() - waiting[0].since
            seconds, at = self._round
            # An older figure says nothing: perhaps only one client is left, which sends much.
            return seconds if self._clients and self._now() - at <= seconds else 0.0

    def _queued(self, client: str) -> _Waiting | None:
        """A place at the end of the client's queue; None when the turn has come at once."""
        with self._lock:
            if self._free:
                self._free -= 1
                return None
            waiting = self._clients.setdefault(client, deque())
            mine = _Waiting(self._now(), alone=not waiting)
            waiting.append(mine)
            return mine

    def _pass_on(self) -> None:
        with self._lock:
            if not self._clients:
                self._free += 1
                return
            client, waiting = self._clients.popitem(last=False)
            following = waiting.popleft()
            if waiting:
                self._clients[client] = waiting  # behind the other clients
            if following.alone:
                self._round = (self._now() - following.since, self._now())
            following.turn.set()
