"""Photos that wait for the engine of this process: a queue for each client, and the clients are served in turn."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from shoal.errors import Retryable

SHARE = 4  # a client may hold so many times the places that are free: alone 4/5 of all, so a newcomer finds some
LOOK_SECONDS = 0.5  # how often somebody who waits for a place looks whether the client has left

Item = TypeVar("Item")


class Full(Retryable):
    """There is no place for a photo of this client."""


class Closed(Retryable):
    """The process is stopping."""


class FairQueue(Generic[Item]):
    """First in, first out for each client; one item of each client in turn. Safe for many threads.

    places: the number of items that may wait, asked for at each `put`.
    """

    def __init__(self, places: Callable[[], int]) -> None:
        self._places = places
        self._clients: OrderedDict[str, deque[Item]] = OrderedDict()
        self._size = 0
        self._closed = False
        lock = threading.Lock()
        # Two, so that a photo wakes one thread that decodes, and not all: to wake a thread costs more than to queue.
        self._filled, self._freed = threading.Condition(lock), threading.Condition(lock)

    def __len__(self) -> int:
        return self._size

    def put(self, client: str, item: Item, left: Callable[[], bool] | None = None) -> None:
        """Add an item at the end of the client's queue.

        left: None to raise Full at once when there is no place; else wait for one until it returns True (then Full).
        Raises Closed after `close`.
        """
        with self._freed:
            while not self._closed and not self._has_place(client):
                if left is None or left():
                    raise Full("too many photos wait here already")
                self._freed.wait(LOOK_SECONDS)
            if self._closed:
                raise Closed("the server is about to restart")
            self._clients.setdefault(client, deque()).append(item)
            self._size += 1
            self._filled.notify()

    def take(self) -> Item | None:
        """Wait for an item and take it. Returns None after `close`."""
        with self._filled:
            self._filled.wait_for(lambda: self._size or self._closed)
            if self._closed:
                return None
            client, items = self._clients.popitem(last=False)
            item = items.popleft()
            if items:
                self._clients[client] = items  # behind the other clients
            self._size -= 1
            self._freed.notify_all()
            return item

    def has_place(self, client: str) -> bool:
        """Whether `put` would take an item of this client at once."""
        with self._freed:
            return self._has_place(client)

    def close(self) -> list[Item]:
        """Take nothing more. Returns the items that still waited."""
        with self._filled:
            self._closed = True
            rest = [item for items in self._clients.values() for item in items]
            self._clients.clear()
            self._size = 0
            self._filled.notify_all()
            self._freed.notify_all()
            return rest

    def _has_place(self, client: str) -> bool:
        own = len(self._clients.get(client, ()))
        return own < SHARE * (self._places() - self._size)
