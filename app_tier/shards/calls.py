"""Counts the calls of the decoder and the engine for a shard, for the stall watch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ShardCalls:
    """Which calls are under way. Reads of a bucket are no such calls, nor is the wait for photos of people."""

    def __init__(self) -> None:
        self._counting = threading.Lock()
        self.in_progress = 0
        self.let_go = 0  # calls that ended, in all

    @contextmanager
    def one(self) -> Iterator[None]:
        """A call lasts as long as the block."""
        with self._counting:
            self.in_progress += 1
        try:
            yield
        finally:
            with self._counting:
                self.in_progress -= 1
                self.let_go += 1
