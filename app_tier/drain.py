"""Stops the worker when its instance has a drain mark in its tags, or EC2 announces its end."""

from __future__ import annotations

import logging
from collections.abc import Callable

from app_tier.watcher import Watcher
from shoal.errors import Retryable
from shoal.lifecycle import StopSignal
from shoal.logs import WarnOnce

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
NOTICE_POLLS = 5  # EC2 gives two minutes' notice and asks to be looked at every five seconds


class DrainWatch(Watcher):
    """Looks for the drain mark once a second, and stops the worker when there is one.

    read_mark:   returns the drain mark or None; may raise Retryable.
    read_notice: returns what EC2 announces (a spot interruption, a rebalance recommendation) or None; likewise.
    """

    def __init__(
        self,
        read_mark: Callable[[], str | None],
        stop: StopSignal,
        read_notice: Callable[[], str | None] = lambda: None,
    ) -> None:
        super().__init__("drain-watch", POLL_SECONDS)
        self._read_mark = read_mark
        self._read_notice = read_notice
        self._stop = stop
        self._polls = 0
        self._faults = WarnOnce(log)

    def step(self) -> bool:
        """Look once."""
        if self._stop.stopping:
            return False
        if reason := self._reason(with_notice=self._polls % NOTICE_POLLS == 0):
            self._stop.stop(reason)
        self._polls += 1
        return not reason

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
