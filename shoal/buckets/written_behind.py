"""Stores objects a moment later, so that an answer does not wait for a bucket. This process sees them at once."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator

from shoal.errors import Retryable
from shoal.logs import WarnOnce
from shoal.ports import ObjectStore, StoredObject

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 1024 * 1024  # that wait to be written; more means that the store is away or too slow
GATHER_SECONDS = 0.05  # that an object waits for others: to wake the thread for each costs as much as an answer
PAUSE_SECONDS = 0.5  # before an object that could not be written is tried again


class WriteBehind:
    """Writes objects in the order in which they were handed over, in one thread. Safe for many threads.

    An object that cannot be written is tried again until it is, or until the process ends.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: OrderedDict[tuple[LateStore, str], _Late] = OrderedDict()
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._faults = WarnOnce(log)
        self._thread = threading.Thread(target=self._run, name="write-behind", daemon=True)

    def around(self, store: ObjectStore) -> LateStore:
        """`store`, with `put_later`."""
        return LateStore(self, store)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Write what waits, for at most `seconds`."""
        with self._changed:
            self._stopping.set()
            self._changed.notify_all()
        self._thread.join(seconds)
        if self._waiting:
            log.error("%d results and photos could not be stored before the stop", len(self._waiting))

    def check(self) -> None:
        """Raise Retryable when too much waits to be written."""
        if self._bytes > self._most_bytes:
            raise Retryable("results cannot be stored at the moment")

    def add(self, store: LateStore, late: _Late) -> None:
        """Have an object written."""
        with self._changed:
            self._remove(store, late.stored.key)
            self._waiting[store, late.stored.key] = late
            self._bytes += len(late.body)
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def drop(self, store: LateStore, key: str) -> None:
        """Do not write the object any more."""
        with self._changed:
            self._remove(store, key)

    def find(self, store: LateStore, key: str) -> bytes | None:
        """The object, if it waits."""
        with self._changed:
            late = self._waiting.get((store, key))
            return late.body if late else None

    def listed(self, store: LateStore, prefix: str) -> list[StoredObject]:
        """The objects of `store` that wait, ordered by key."""
        with self._changed:
            found = [
                late.stored for (its, key), late in self._waiting.items() if its is store and key.startswith(prefix)
            ]
        return sorted(found, key=_key)

    def _remove(self, store: LateStore, key: str) -> None:
        if late := self._waiting.pop((store, key), None):
            self._bytes -= len(late.body)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._changed.wait_for(lambda: self._waiting or self._stopping.is_set())
                    self._changed.wait_for(self._stopping.is_set, GATHER_SECONDS)
                if not self._waiting:
                    if self._stopping.is_set():
                        return
                    continue
                (store, key), late = next(iter(self._waiting.items()))
            try:
                store.inner.put(key, late.body, late.content_type)
                self._faults.clear()
            except Exception as error:
                self._faults.warn("results wait, the store does not take them: %s", error)
                self._stopping.wait(PAUSE_SECONDS)
                continue
            with self._changed:
                if self._waiting.get((store, key)) is late:
                    self._remove(store, key)


class _Late:
    """An object that waits to be written."""

    def __init__(self, key: str, body: bytes, content_type: str) -> None:
        self.body = body
        self.content_type = content_type
        self.stored = StoredObject(key, len(body), time.time())


class LateStore:
    """An ObjectStore around another one. It has the objects of `put_later` at once."""

    def __init__(self, behind: WriteBehind, inner: ObjectStore) -> None:
        self.inner = inner
        self._behind = behind

    def put_later(self, key: str, body: bytes, content_type: str) -> None:
        """Write or overwrite an object a moment later."""
        self._behind.add(self, _Late(key, body, content_type))

    def put(self, key: str, body: bytes, content_type: str) -> None:
        """As the store does."""
        self._behind.drop(self, key)
        self.inner.put(key, body, content_type)

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:
        """As the store does."""
        return self._behind.find(self, key) is None and self.inner.put_new(key, body, content_type)

    def get(self, key: str) -> bytes:
        """As the store does."""
        late = self._behind.find(self, key)
        return self.inner.get(key) if late is None else late

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        """As the store does."""
        late = [one for one in self._behind.listed(self, prefix) if one.key > after]
        stored = self.inner.list(prefix, after, most)
        return _merged(stored, late) if late else stored

    def delete(self, key: str) -> None:
        """As the store does."""
        self._behind.drop(self, key)
        self.inner.delete(key)


def _merged(stored: Iterator[StoredObject], late: list[StoredObject]) -> Iterator[StoredObject]:
    last = ""
    for one in heapq.merge(late, stored, key=_key):
        if one.key != last:
            yield one
        last = one.key


def _key(one: StoredObject) -> str:
    return one.key
