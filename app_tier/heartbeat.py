"""Keeps the messages in progress invisible to other workers."""

from __future__ import annotations

import logging
import threading

from app_tier.watcher import Watcher
from shoal.errors import ShoalError
from shoal.ports import JobQueue

log = logging.getLogger(__name__)

RENEWALS = 3  # per visibility timeout, so that one failed call does not give a message away


class Heartbeat(Watcher):
    """Renews the visibility timeout of every message in progress, the drain included."""

    def __init__(self, queue: JobQueue, visibility_seconds: int) -> None:
        super().__init__("heartbeat", visibility_seconds / RENEWALS)
        self._queue = queue
        self._visibility_seconds = visibility_seconds
        self._receipts: set[str] = set()
        self._lock = threading.Lock()

    def hold(self, receipt: str) -> None:
        """Begin to renew a message that was just received."""
        with self._lock:
            self._receipts.add(receipt)

    def release(self, receipt: str) -> None:
        """Stop renewing a message: it was deleted, or goes back to the queue."""
        with self._lock:
            self._receipts.discard(receipt)

    def step(self) -> bool:
        """Renew now. A failure is logged: the messages may be delivered a second time, which does no harm."""
        with self._lock:
            receipts = sorted(self._receipts)
        if receipts:
            try:
                self._queue.extend(receipts, self._visibility_seconds)
            except ShoalError as error:
                log.warning("heartbeat missed for %d messages, they may be delivered again: %s", len(receipts), error)
        return True
