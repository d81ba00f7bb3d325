"""The clock of the machine, for the port `Clock`."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Sleep for `seconds`."""
        time.sleep(seconds)
