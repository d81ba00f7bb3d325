"""Logging, the same in all tiers: lines on standard error."""

from __future__ import annotations

import logging
import sys


def configure(level: str) -> None:
    """Log to standard error with the time: ours from `level` up, libraries' from WARNING up. May be repeated."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in ("shoal", "inference", "app_tier", "controller", "web_tier", "__main__"):
        logging.getLogger(name).setLevel(level.upper())
    # APScheduler warns when a tick takes longer than its interval. Skipping the next tick is what we want.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


class WarnOnce:
    """Log a fault when it begins, and not again while it lasts."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._lasts = False

    def warn(self, message: str, *arguments: object, exc_info: bool = False) -> None:
        """Log the fault as a warning unless it was logged since the last `clear`. exc_info: with its traceback."""
        if not self._lasts:
            self._log.warning(message, *arguments, exc_info=exc_info)
        self._lasts = True

    def clear(self) -> bool:
        """Note that the fault is over. Returns True when there was one."""
        lasted, self._lasts = self._lasts, False
        return lasted
