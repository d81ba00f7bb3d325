"""Waiting for a condition, with a deadline that is longer when several tests run at once."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

from benchmarks.running import waiting

Value = TypeVar("Value")

DEADLINE_SECONDS = 20.0


def until(produce: Callable[[], Value], seconds: float = DEADLINE_SECONDS) -> Value:
    """The first true value of `produce`; fails after `seconds`."""
    deadline = time.monotonic() + _patient(seconds)
    while not (value := produce()):
        assert time.monotonic() < deadline, f"waited {_patient(seconds):.0f} s in vain; last value: {value!r}"
        time.sleep(0.02)
    return value


def wait_for(
    condition: Callable[[], object],
    seconds: float = DEADLINE_SECONDS,
    what: str | Callable[[], str] = "the condition did not come true",
    every_seconds: float = 0.05,
) -> None:
    """Wait until `condition` holds. Raises TimeoutError after `seconds`; `what` says what is wrong."""
    waiting.wait_for(condition, _patient(seconds), what, every_seconds)


def _patient(seconds: float) -> float:
    """Each of n tests that run at once may take n times as long as alone."""
    return seconds * int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
