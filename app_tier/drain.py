"""How a worker learns that its instance shall leave: the drain mark in the instance's own tags."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from shoal.errors import Retryable
from shoal.lifecycle import StopSignal

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class DrainWatch:
    """Looks for the mark once a second and turns it into a stop. A context manager around the work.

    read_mark: returns the drain mark or None; may raise Retryable.
    """

    def __init__(self, read_mark: Callable[[], str | None], stop: StopSignal) -> None:
        self._read_mark = read_mark
        self._stop = stop
        self._ended = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._watch, name="drain-watch", daemon=True)

    def __enter__(self) -> DrainWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(POLL_SECONDS) and not self._stop.stopping:
            if self._marked():
                self._stop.stop("drain mark")

    def _marked(self) -> bool:
        try:
            mark = self._read_mark()
        except Retryable as error:
            if not self._warned:
                log.warning("cannot read the drain mark, will go on trying: %s", error)
            self._warned = True
            return False
        self._warned = False
        return bool(mark)
