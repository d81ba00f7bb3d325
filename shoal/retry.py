"""Calls again what may go through later."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from shoal.errors import Retryable

T = TypeVar("T")


def patiently(call: Callable[[], T], seconds: float, pause: Callable[[], object]) -> T:
    """Call until it does not raise Retryable, and return its answer.

    pause: waits before the next call; returns True to give up.
    Raises Retryable after `seconds`, or when `pause` gives up.
    """
    # Not tenacity: it takes as many lines to say this, and its import adds 0.02 s to a worker's start.
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except Retryable:
            if time.monotonic() > deadline or pause() is True:
                raise
