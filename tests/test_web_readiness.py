"""Readiness: what is wrong is told, also when it became known while nobody waited."""

from __future__ import annotations

import dataclasses
import threading

import pytest

from shoal.clock import SystemClock
from shoal.errors import Retryable
from shoal.memory import MemoryQueue, memory_cloud
from shoal.ports import Depth
from tests.waiting import until
from web_tier.watching.readiness import Readiness

NAME = "request queue"


class AwayQueue(MemoryQueue):
    """Says that it is away as often as `go_on` is released."""

    def __init__(self) -> None:
        super().__init__(SystemClock(), 30)
        self.go_on = threading.Semaphore(0)

    def depth(self) -> Depth:
        self.go_on.acquire()
        raise Retryable("it is away")


@pytest.fixture
def away() -> AwayQueue:
    return AwayQueue()


@pytest.fixture
def readiness(away: AwayQueue) -> Readiness:
    cloud = memory_cloud(SystemClock(), visibility_seconds=30)
    space = {"input bucket": lambda: None, "output bucket": lambda: None}
    return Readiness(dataclasses.replace(cloud, requests=away), space)


def nobody_asks() -> bool:
    return not any(thread.name == "ready" for thread in threading.enumerate())


def test_what_became_known_while_nobody_waited_is_told(readiness: Readiness, away: AwayQueue) -> None:
    assert readiness.look(0)[NAME].endswith(" s")
    away.go_on.release()
    until(nobody_asks)
    told = readiness.look(1)  # time enough for those that answer
    assert told[NAME].startswith("no answer for ")
    assert told[NAME].endswith("before: it is away")
    assert told["input bucket"] == told["output bucket"] == told["response queue"] == "ok"
    away.go_on.release()
    until(nobody_asks)


def test_what_was_told_in_time_is_told_as_it_is(readiness: Readiness, away: AwayQueue) -> None:
    away.go_on.release(2)
    for _ in range(2):
        assert readiness.look(10)[NAME] == "it is away"
