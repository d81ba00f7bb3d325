"""Few photos are stored at the same time, each client in turn, so that the store answers others while many come.

Answers go before photos: while one waits long for the store, and for seconds after, few photos begin to be stored.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

AT_ONCE = 16  # photos of all requests: hides the latency of S3
BESIDE_ANSWERS = 4  # photos stored while answers take long: the next calls for answers meet few others
PATIENCE_SECONDS = 0.2  # of an answer. Where the store has time for all, hardly any takes so long, and no photo waits
LASTING_SECONDS = 5.0  # after an answer that took longer: else each first one would


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

    def __init__(self, at_once: int = AT_ONCE, now: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._held = 0  # turns
        self._now = now
        self._clients: OrderedDict[str, deque[_Waiting]] = OrderedDict()
        self._answers: dict[object, float] = {}  # those under way, the oldest first: when each began
        self._stand_back_until = -math.inf
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
            with self._lock:
                self._held -= 1
                self._begin()

    @contextmanager
    def answer(self) -> Iterator[None]:
        """An answer reads the store in the block: photos stand back when that takes long."""
        mine = object()
        with self._lock:
            self._answers[mine] = self._now()
        try:
            yield
        finally:
            with self._lock:
                took, now = self._now() - self._answers.pop(mine), self._now()
                if took > PATIENCE_SECONDS:
                    self._stand_back_until = now + LASTING_SECONDS
                self._begin()

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
            if not self._clients and self._held < self._most():
                self._held += 1
                return None
            waiting = self._clients.setdefault(client, deque())
            mine = _Waiting(self._now(), alone=not waiting)
            waiting.append(mine)
            return mine

    def _most(self) -> int:
        """How many photos may be stored at the same time now."""
        now = self._now()
        oldest = next(iter(self._answers.values()), now)
        stand_back = now < self._stand_back_until or now - oldest > PATIENCE_SECONDS
        return min(BESIDE_ANSWERS, self._at_once) if stand_back else self._at_once

    def _begin(self) -> None:
        """Give the free turns to those that wait."""
        most = self._most()
        while self._clients and self._held < most:
            client, waiting = self._clients.popitem(last=False)
            following = waiting.popleft()
            if waiting:
                self._clients[client] = waiting  # behind the other clients
            if following.alone:
                self._round = (self._now() - following.since, self._now())
            self._held += 1
            following.turn.set()
