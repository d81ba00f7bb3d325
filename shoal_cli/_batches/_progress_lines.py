"""Says in lines how far something is, for a pipe or a log, where no bar can be drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from shoal_cli._batches._counted import duration

FIRST_SECONDS = 5.0
SLOWER = 1.5  # each pause is so many times as long as the one before it: a long wait needs no long log
LONGEST_SECONDS = 60.0


@dataclass
class ProgressLines:
    """Prints a line now and then: the first after five seconds, later ones up to a minute apart.

    Nothing is printed on a terminal, where a bar stands. now: seconds by a clock that nobody sets.
    """

    screen: Console
    now: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._began = self.now()
        self._pause = FIRST_SECONDS
        self._due = self._began + self._pause

    def tell(self, words: str) -> None:
        """Print the words and for how long it has been going on, if it is time: "Labelling: 12 of 60, 5 s"."""
        now = self.now()
        if self.screen.is_terminal or now < self._due:
            return
        self._pause = min(LONGEST_SECONDS, self._pause * SLOWER)
        self._due = now + self._pause
        self.screen.print(f"{words}, {duration(now - self._began)}", markup=False, soft_wrap=True)
