"""Tells a controller on the same machine that photos were queued, so that an idle one need not wait for its next tick.

The controller keeps a file in the state folder, and web processes set its time. Elsewhere there is no such file, and
the controller finds the photos at its next tick.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

NAME = "photos-queued"


class Arrivals:
    """The controller's end. The file lives as long as the state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / NAME
        with suppress(OSError):  # a hint: without it photos wait for a tick
            self._file.touch(mode=0o600)
        self._seen = self._time()

    def any_new(self) -> bool:
        """Whether photos were queued on this machine since the last call."""
        before, self._seen = self._seen, self._time()
        return self._seen != before

    def _time(self) -> int:
        with suppress(OSError):
            return self._file.stat().st_mtime_ns
        return 0


def tell_queued(state_dir: Path) -> None:
    """Tell the controller of this machine, if there is one, that photos were queued. Never fails."""
    with suppress(OSError):
        os.utime(state_dir / NAME)
