"""Logging, the same in all tiers: lines on standard error."""

from __future__ import annotations

import logging
import re
import sys

_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def configure(level: str) -> None:
    """Log to standard error with the time: ours from `level` up, libraries' from WARNING up. May be repeated."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(OneLine("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[lines])
    for name in ("shoal", "inference", "app_tier", "controller", "web_tier", "__main__"):
        logging.getLogger(name).setLevel(level.upper())
    # APScheduler warns when a tick takes longer than its interval. Skipping the next tick is what we want.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


class OneLine(logging.Formatter):
    """A message is one line of what can be seen: control characters in it are written as escapes.

    A message may hold what a stranger sent, such as the path of a request. So it cannot look like further messages, and
    cannot steer the terminal that shows the log.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging calls it so
        """The line without a traceback."""
        record.message = _CONTROL.sub(lambda one: repr(one[0])[1:-1], record.message)
        return super().formatMessage(record)


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
