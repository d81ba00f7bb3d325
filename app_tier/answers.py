"""Remembers answers, for photos with the same bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Set

from inference.answer import Answer


class Answers:
    """The last `most` answers of this worker's models; 0 remembers none. Safe for many threads.

    Failures are not remembered. The answers and the artefacts that gave them live as long as the process.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, tuple[Answer, str]] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, model: str, payload: bytes) -> bytes:
        """The name under which `model`'s answer to these bytes is remembered; empty when none is remembered."""
        return hashlib.sha256(payload).digest() + model.encode() if self._most else b""

    def find(self, name: bytes) -> Answer | None:
        """The answer, or None. An answer that is found becomes the newest."""
        with self._lock:
            kept = self._kept.get(name)
            if kept is None:
                return None
            self._kept.move_to_end(name)
            return kept[0]

    def keep(self, name: bytes, answer: Answer, batch: str) -> None:
        """Remember an answer to a photo of `batch`, and forget the oldest when there are too many."""
        if not self._most:
            return
        with self._lock:
            self._kept[name] = (answer, batch)
            self._kept.move_to_end(name)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def forget(self, batches: Set[str]) -> None:
        """Forget the answers to photos of these batches."""
        if not batches:
            return
        with self._lock:
            for name in [name for name, (_, batch) in self._kept.items() if batch in batches]:
                del self._kept[name]
