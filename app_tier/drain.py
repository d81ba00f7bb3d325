"""How a worker learns that its instance shall leave: by the drain mark in the instance's tags, or a notice of EC2."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from shoal.errors import Retryable
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce

log = logging.getLogger(__name__)
T = TypeVar("T")

POLL_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
NOTICE_POLLS = 5  # EC2 gives two minutes' notice and asks to be looked at every five seconds


def patiently(read: Callable[[], T], stop: StopSignal, seconds: float = PATIENCE_SECONDS) -> T:
    """What `read` returns, asked again and again while it raises Retryable: a machine that boots is a busy one.

    Raises Retryable after `seconds`, or when the worker shall stop.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return read()
        except Retryable:
            if time.monotonic() > deadline or stop.wait(POLL_SECONDS):
                raise


class DrainWatch:
    """Looks for the mark once a second and turns it into a stop. A context manager around the work.

    read_mark:   returns the drain mark or None; may raise Retryable.
    read_notice: returns what EC2 announces (a spot interruption, a rebalance recommendation) or None; likewise.
    """

    def __init__(
        self,
        read_mark: Callable[[], str | None],
        stop: StopSignal,
        read_notice: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._read_mark = read_mark
        self._read_notice = read_notice
        self._stop = stop
        self._ended = threading.Event()
        self._faults = WarnOnce(log)
        self._thread = threading.Thread(target=self._watch, name="drain-watch", daemon=True)

    def __enter__(self) -> DrainWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        polls = 0
        while not self._ended.wait(POLL_SECONDS) and not self._stop.stopping:
            if reason := self._reason(with_notice=polls % NOTICE_POLLS == 0):
                self._stop.stop(reason)
            polls += 1

    def _reason(self, with_notice: bool) -> str:
        try:
            reason = "drain mark" if self._read_mark() else ""
            if not reason and with_notice:
                reason = self._read_notice() or ""
        except Retryable as error:
            self._faults.warn("cannot read the drain mark, will go on trying: %s", error)
            return ""
        self._faults.clear()
        return reason
