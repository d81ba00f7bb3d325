"""Threads that fetch photos by address. A client whose addresses are slow does not take them all."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Found = TypeVar("Found")


class FairThreads:
    """Runs calls in `threads` threads: of each client in turn, and at most `most_a_client` of one client at once.

    Safe for many threads.
    """

    def __init__(self, threads: int, most_a_client: int, name: str) -> None:
        self._most = most_a_client
        self._waiting: OrderedDict[str, deque[tuple[Future[Any], Callable[[], Any]]]] = OrderedDict()
        self._running: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def submit(self, client: str, call: Callable[P, Found], *args: P.args, **kwargs: P.kwargs) -> Future[Found]:
        """Run a call for a client. Raises RuntimeError after `stop`."""
        future: Future[Found] = Future()
        with self._lock:
            self._waiting.setdefault(client, deque()).append((future, lambda: call(*args, **kwargs)))
        self._threads.submit(self._work)
        return future

    def stop(self) -> None:
        """Start no more calls."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            for waiting in self._waiting.values():
                for future, _ in waiting:
                    future.cancel()
            self._waiting.clear()

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            client, future, call = taken
            try:
                if future.set_running_or_notify_cancel():
                    _run(future, call)
            finally:
                with self._lock:
                    self._running[client] -= 1
                    if not self._running[client]:
                        del self._running[client]

    def _take(self) -> tuple[str, Future[Any], Callable[[], Any]] | None:
        with self._lock:
            for client, waiting in self._waiting.items():
                if self._running[client] < self._most:
                    future, call = waiting.popleft()
                    del self._waiting[client]
                    if waiting:
                        self._waiting[client] = waiting  # behind the other clients
                    self._running[client] += 1
                    return client, future, call
        return None


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    try:
        found = call()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(found)
