"""Answers of the bucket that are remembered for a moment: a page with 200 small pictures asks 200 times who it is."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

SECONDS = 5.0
MOST = 10_000  # the oldest is forgotten

Answer = TypeVar("Answer")


class Recently(Generic[Answer]):
    """Asks again after `seconds`. Safe for many threads."""

    def __init__(self, ask: Callable[[str], Answer], seconds: float = SECONDS) -> None:
        self._ask = ask
        self._seconds = seconds
        self._known: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, question: str) -> Answer:
        """The answer, at most `seconds` old. Raises what `ask` raises."""
        now = time.monotonic()
        with self._lock:
            found = self._known.get(question)
        if found is not None and now - found[0] < self._seconds:
            return found[1]
        answer = self._ask(question)
        with self._lock:
            self._known[question] = (now, answer)
            self._known.move_to_end(question)
            while len(self._known) > MOST:
                self._known.popitem(last=False)
        return answer

    def forget(self, question: str) -> None:
        """Ask at once the next time."""
        with self._lock:
            self._known.pop(question, None)
