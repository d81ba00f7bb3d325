"""Looks at something all the time, in a thread, while a test or a benchmark does something else."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self


class Looking(ABC):
    """A context manager that looks again every `seconds`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_again_and_again)

    @abstractmethod
    def look(self) -> None:
        """Look once."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_again_and_again(self) -> None:
        while not self._stop.wait(self._seconds):
            self.look()
