"""How every tier logs: lines on standard error, read by a person or by journald."""

from __future__ import annotations

import logging
import sys


def configure(level: str) -> None:
    """Send everything at `level` and above to standard error, with the time; libraries only their warnings."""
    logging.basicConfig(
        level=logging.WARNING,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    for name in ("shoal", "inference", "app_tier", "controller", "web_tier", "__main__"):
        logging.getLogger(name).setLevel(level.upper())
    # A tick that takes longer than its interval skips one: that is what we asked for, not a warning.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
