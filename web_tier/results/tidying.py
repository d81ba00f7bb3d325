"""Deletes what is old where no controller runs: `shoal serve`."""

from __future__ import annotations

import logging
import threading

from shoal.buckets import deleted_batches, passing_records, retention
from shoal.ports import Clock, Cloud

log = logging.getLogger(__name__)

PAUSE_SECONDS = 600.0


class Tidying:
    """Looks every ten minutes, in a thread of its own. keep_days: as SHOAL_KEEP_DAYS."""

    def __init__(self, cloud: Cloud, clock: Clock, keep_days: float) -> None:
        self._cloud = cloud
        self._clock = clock
        self._keep_days = keep_days
        self._stop = threading.Event()

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="tidying", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.tidy()
            except Exception as error:
                log.warning("what is old stays for now: %s", error)
            self._stop.wait(PAUSE_SECONDS)

    def tidy(self) -> None:
        """Delete what is old. May raise Retryable."""
        now = self._clock.now()
        deleted_batches.sweep(self._cloud.inputs, self._cloud.outputs, now)
        passing_records.remove_old(self._cloud.outputs, now)
        if self._keep_days:
            while retention.remove_old(self._cloud.inputs, self._cloud.outputs, now, self._keep_days) >= retention.MOST:
                pass
