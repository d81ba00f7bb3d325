"""Remembers answers, for photos with the same bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from inference.answer import Answer


class Answers:
    """The last `most` answers of this worker's models; 0 remembers none. Safe for many threads.

    Failures are not remembered. The answers and the artefacts that gave them live as long as the process.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, model: str, payload: bytes) -> bytes:
        """The name under which `model`'s answer to these bytes is remembered; empty when none is remembered."""
        return hashlib.sha256(payload).digest() + model.encode() if self._most else b""

    def find(self, name: bytes) -> Answer | None:
        """The answer, or None. An answer that is found becomes the newest."""
        with self._lock:
            answer = self._kept.get(name)
            if answer is not None:
                self._kept.move_to_end(name)
            return answer

    def keep(self, name: bytes, answer: Answer) -> None:
        """Remember an answer, and forget the oldest when there are too many."""
        if not self._most:
            return
        with self._lock:
            self._kept[name] = answer
            self._kept.move_to_end(name)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
