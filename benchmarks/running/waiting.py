"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def wait_for(
    condition: Callable[[], object], seconds: float, what: str | Callable[[], str], every_seconds: float = 0.05
) -> None:
    """Wait until `condition` holds. Raises TimeoutError after `seconds`; `what`, called then if it is a function, says
    what is wrong."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:.0f} s in vain: {what if isinstance(what, str) else what()}")
        pause.wait(every_seconds)
