"""The response queue of this web process, so that an answer reaches the process where a client waits for it.

The queue is created at the first receive, kept while the process lives and removed when it stops. The other processes
remove the queue of a process that was killed.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable

from shoal.errors import NotFound, Retryable, ShoalError
from shoal.ports import JobQueue, Received, Replies

log = logging.getLogger(__name__)

KEEP_SECONDS = 300.0
SWEEP_SECONDS = 3600.0
ABANDONED_SECONDS = 12 * KEEP_SECONDS  # a process that was paused for an hour makes itself a new queue
CLOSE_SECONDS = 1.0
NEW_SECONDS = 30.0


class ReplyQueue:
    """Read by a Collector. Only `receive` creates the queue, and only one thread calls it.

    common: name of the queue that all web processes share.
    """

    def __init__(self, replies: Replies, common: str, steady: Callable[[], float] = time.monotonic) -> None:
        self._replies = replies
        self._common = common
        self._steady = steady
        self._name = ""
        self._kept_at = self._swept_at = self._known_by = float("-inf")
        self._closed = False
        self._changing = threading.Lock()

    @property
    def name(self) -> str:
        """The value for `reply_to`: the common queue until this process has its own."""
        return self._name or self._common

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        """Like JobQueue.receive. Raises NotFound when the queue was removed; the next call creates another.

        SQS needs about a second until a new queue is known everywhere: Retryable then, and the queue stays.
        """
        try:
            found = self._open().receive(max_messages, wait_seconds)
        except NotFound as error:
            if self._steady() < self._known_by:
                raise Retryable(f"{self._name} was made a moment ago: {error}") from error
            self._name = ""
            raise
        self._known_by = float("-inf")  # it is known: from now on it can be lost
        return found

    def delete(self, receipts: list[str]) -> None:
        """Like JobQueue.delete."""
        self._replies[self.name].delete(receipts)

    def close(self) -> None:
        """Remove the queue. If that takes longer than a second, the other processes do it later."""
        closing = threading.Thread(target=self._remove, name="close-replies", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)

    def _open(self) -> JobQueue:
        with self._changing:
            if self._closed:
                raise Retryable("the web tier is stopping")
            if self._name and self._steady() - self._kept_at < KEEP_SECONDS:
                return self._replies[self._name]
            name = self._name or f"{self._common}-{secrets.token_hex(6)}"
            known_by = self._known_by if self._name else self._steady() + NEW_SECONDS
            queue = self._replies.keep(name)
            self._name, self._kept_at, self._known_by = name, self._steady(), known_by
        if self._steady() - self._swept_at > SWEEP_SECONDS:
            self._swept_at = self._steady()
            self._sweep()
        return queue

    def _sweep(self) -> None:
        """Remove the queues that no process has kept for long.

        Our own queue's time tells the service's clock. A process whose queue is removed by mistake creates another.
        """
        try:
            kept = self._replies.kept()
            now = kept.get(self._name, 0.0)
            for name in [name for name, at in kept.items() if at < now - ABANDONED_SECONDS]:
                self._replies.remove(name)
                log.info("removed %s, the response queue of a web process that has gone", name)
        except ShoalError as error:
            log.info("response queues of dead processes are left for later: %s", error)

    def _remove(self) -> None:
        with self._changing:
            self._closed = True
            name, self._name = self._name, ""
        if not name:
            return
        try:
            self._replies.remove(name)
        except ShoalError as error:
            log.info("%s is left for another process to remove: %s", name, error)
