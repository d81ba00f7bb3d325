"""Which request gets the next thread of the server: health, pages, answers, photos, and each client in turn."""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Generic, Protocol, TypeVar

KEPT = 16  # one thread of so many is kept for answers, another one for pages, and one for health
LONGEST_WAIT_SECONDS = 30.0  # a request with photos that waited longer is refused: its client has given up by then


class Urgency(IntEnum):
    """In which order requests get threads."""

    HEALTH = 0
    PAGE = 1
    ANSWER = 2  # reads what is known of photos
    PHOTOS = 3  # takes photos in and may wait for their labels


class Answerable(Protocol):
    """A request that waits for a thread."""

    def service(self) -> None:
        """Answer it."""

    def cancel(self) -> None:
        """Give it up."""


Waiting = TypeVar("Waiting", bound=Answerable)


@dataclass(frozen=True, slots=True)
class Turn(Generic[Waiting]):
    """A request that has a thread, or waits for one. client: whose it is."""

    task: Waiting
    urgency: Urgency
    client: str
    since: float
    queue: TurnQueue[Waiting]

    def service(self) -> None:
        """Answer the request, and free its thread."""
        try:
            if self.urgency is Urgency.PHOTOS and time.monotonic() - self.since > LONGEST_WAIT_SECONDS:
                self.queue.refuse(self.task)
            self.task.service()
        finally:
            self.queue.over(self)

    def cancel(self) -> None:
        """Give the request up."""
        self.queue.over(self)
        self.task.cancel()


class TurnQueue(Generic[Waiting]):
    """The requests that wait for one of `threads` threads. It is true when one of them may have a thread now.

    Requests with photos hold a thread as long as their clients and the addresses of photos please. So they never get
    all threads, and one client never more than three quarters of what they get.

    sort:   the urgency of a request, and whose it is.
    refuse: lets a request answer that the server is busy.
    """

    def __init__(
        self,
        threads: int,
        sort: Callable[[Waiting], tuple[Urgency, str]],
        refuse: Callable[[Waiting], None] = lambda _: None,
    ) -> None:
        kept = max(1, threads // KEPT)
        answers = threads - 2 * kept
        self._most = {
            Urgency.HEALTH: threads,
            Urgency.PAGE: threads - kept,
            Urgency.ANSWER: answers,
            Urgency.PHOTOS: max(1, answers - threads // KEPT),
        }
        self._most_a_client = max(1, self._most[Urgency.PHOTOS] * 3 // 4)
        self._sort = sort
        self.refuse = refuse
        self._waiting: dict[Urgency, OrderedDict[str, deque[Turn[Waiting]]]] = {one: OrderedDict() for one in Urgency}
        self._held = dict.fromkeys(Urgency, 0)  # threads
        self._clients: Counter[str] = Counter()  # threads with photos of each client
        self._lock = threading.Lock()

    def append(self, task: Waiting) -> None:
        """Add a request."""
        urgency, client = self._sort(task)
        turn = Turn(task, urgency, client, time.monotonic(), self)
        with self._lock:
            self._waiting[urgency].setdefault(client, deque()).append(turn)

    def popleft(self) -> Turn[Waiting]:
        """Take the next request that may have a thread. Raises IndexError when there is none."""
        with self._lock:
            found = self._next()
            if found is None:
                raise IndexError("no request may have a thread")
            urgency, client = found
            clients = self._waiting[urgency]
            turns = clients.pop(client)
            turn = turns.popleft()
            if turns:
                clients[client] = turns  # behind the other clients
            self._held[urgency] += 1
            if urgency is Urgency.PHOTOS:
                self._clients[client] += 1
            return turn

    def over(self, turn: Turn[Any]) -> None:
        """A request needs its thread no longer."""
        with self._lock:
            self._held[turn.urgency] -= 1
            if turn.urgency is Urgency.PHOTOS:
                self._clients[turn.client] -= 1
                if not self._clients[turn.client]:
                    del self._clients[turn.client]

    def __bool__(self) -> bool:
        with self._lock:
            return self._next() is not None

    def __len__(self) -> int:
        with self._lock:
            return sum(len(turns) for clients in self._waiting.values() for turns in clients.values())

    def _next(self) -> tuple[Urgency, str] | None:
        for urgency, clients in self._waiting.items():
            if clients and self._may(urgency):
                for client in clients:
                    if urgency is not Urgency.PHOTOS or self._clients[client] < self._most_a_client:
                        return urgency, client
        return None

    def _may(self, urgency: Urgency) -> bool:
        """Whether a thread is free for such requests beside those that are kept for more urgent ones."""
        return all(
            sum(self._held[one] for one in Urgency if one >= limit) < self._most[limit]
            for limit in Urgency
            if limit <= urgency
        )
