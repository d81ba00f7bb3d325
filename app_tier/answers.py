"""What was answered to the same bytes before."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict

from inference.answer import Answer


class Answers:
    """The last `most` answers of this worker's models; 0 remembers none. Safe for many threads.

    Only what a model said is kept, never a failure. It lives as long as the process, as the artefacts it loaded do:
    no answer outlasts the artefact that gave it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[bytes, Answer] = OrderedDict()
        self._lock = threading.Lock()

    def name(self, model: str, payload: bytes) -> bytes:
        """What an answer of `model` to these bytes is kept under; empty when nothing is kept."""
        return hashlib.sha256(payload).digest() + model.encode() if self._most else b""

    def find(self, name: bytes) -> Answer | None:
        """The answer, and it counts as the latest now; None when there is none."""
        with self._lock:
            answer = self._kept.get(name)
            if answer is not None:
                self._kept.move_to_end(name)
            return answer

    def keep(self, name: bytes, answer: Answer) -> None:
        """Remember an answer in place of the oldest."""
        if not self._most:
            return
        with self._lock:
            self._kept[name] = answer
            self._kept.move_to_end(name)
            if len(self._kept) > self._most:
                self._kept.popitem(last=False)
