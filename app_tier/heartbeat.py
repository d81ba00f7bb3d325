"""Keeps the messages that a worker holds invisible to the others for as long as it works on them."""

from __future__ import annotations

import logging
import threading

from shoal.errors import ShoalError
from shoal.ports import JobQueue

log = logging.getLogger(__name__)


class Heartbeat:
    """Renews the visibility timeout of every held message three times per timeout.

    Three, so that one failed call does not give the message away. Use it as a context manager around all the work,
    the drain included.
    """

    def __init__(self, queue: JobQueue, visibility_seconds: int) -> None:
        self._queue = queue
        self._visibility_seconds = visibility_seconds
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name="heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def hold(self, receipt: str) -> None:
        """Begin to renew a message that was just received."""
        with self._lock:
            self._held.add(receipt)

    def release(self, receipt: str) -> None:
        """Stop renewing a message: it was deleted, or shall come back."""
        with self._lock:
            self._held.discard(receipt)

    def _beat_until_stopped(self) -> None:
        while not self._stopped.wait(self._visibility_seconds / 3):
            self.beat()

    def beat(self) -> None:
        """Renew now. A failure is logged: the message may be delivered a second time, which does no harm."""
        with self._lock:
            held = sorted(self._held)
        if not held:
            return
        try:
            self._queue.extend(held, self._visibility_seconds)
        except ShoalError as error:
            log.warning("heartbeat missed for %d messages, they may be delivered again: %s", len(held), error)
