"""Terminate messages and the notices of EC2: a worker that was asked to leave leaves by itself, and only then."""

from __future__ import annotations

import logging
import time

import pytest

from app_tier import terminate
from app_tier.drain import DrainWatch
from app_tier.terminate import TerminateWatch
from shoal.clock import SystemClock
from shoal.errors import NotFound, Retryable
from shoal.lifecycle import StopSignal
from shoal.memory import ManualClock, MemoryQueue
from shoal.ports import Received
from shoal.retry import patiently
from tests.app_tier_fixtures import ToldProgress
from tests.waiting import wait_for

DEADLINE_SECONDS = 10.0
VALID_SECONDS = 5.0


@pytest.fixture
def clock() -> ManualClock:
    """The queue's clock. The worker's own is of no account."""
    return ManualClock()


@pytest.fixture
def queue(clock: ManualClock) -> MemoryQueue:
    return MemoryQueue(clock, visibility_seconds=30)


def look(queue: MemoryQueue) -> str:
    """Why a worker leaves after one look, "" when it does not."""
    stop = StopSignal()
    TerminateWatch(queue, ToldProgress(), stop, VALID_SECONDS).look(0)
    return stop.reason


def test_taking_a_message_is_leaving_and_one_message_asks_one_worker(queue: MemoryQueue) -> None:
    queue.send(["terminate", "terminate"])
    assert [look(queue) for _ in range(3)] == ["terminate message", "terminate message", ""]
    assert queue.depth().total == 0


def test_a_message_is_valid_for_seconds_by_the_queues_own_clock(queue: MemoryQueue, clock: ManualClock) -> None:
    """Pitfall: clock skew. Compare with time.time() instead of the server's two stamps and this fails: the queue's
    clock here is years behind the worker's."""
    queue.send(["terminate"])
    clock.wait(VALID_SECONDS)
    assert look(queue) == "terminate message"
    queue.send(["terminate"])
    clock.wait(VALID_SECONDS + 0.1)
    assert look(queue) == ""
    assert queue.depth().total == 0  # deleted without effect


def test_stale_ones_do_not_hide_a_valid_one(queue: MemoryQueue, clock: ManualClock) -> None:
    queue.send(["terminate"] * 20)
    clock.wait(60)
    queue.send(["terminate"])
    assert look(queue) == "terminate message"
    assert queue.depth().total == 0


def test_a_message_of_a_worker_that_died_with_it_asks_nobody_else(queue: MemoryQueue, clock: ManualClock) -> None:
    """It was first received in time, so its stamps look valid for ever: only the count of deliveries tells."""
    queue.send(["terminate"])
    queue.receive(1, 0)
    clock.wait(31)
    assert look(queue) == ""
    assert queue.depth().total == 0


@pytest.fixture
def live_queue() -> MemoryQueue:
    return MemoryQueue(SystemClock(), visibility_seconds=30)


def test_a_busy_worker_looks_after_every_five_requests(
    live_queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminate, "LOOK_SECONDS", 0.01)
    progress, stop = ToldProgress(finished=4), StopSignal()
    live_queue.send(["terminate"])
    with TerminateWatch(live_queue, progress, stop, VALID_SECONDS):
        assert not stop.wait(0.3)
        progress.finished = 5
        assert stop.wait(DEADLINE_SECONDS)
    assert stop.reason == "terminate message"


def test_an_idle_worker_listens_after_twenty_seconds(live_queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminate, "LOOK_SECONDS", 0.01)
    progress, stop = ToldProgress(idle_since=time.monotonic() - 19.0), StopSignal()
    live_queue.send(["terminate"])
    with TerminateWatch(live_queue, progress, stop, VALID_SECONDS):
        assert not stop.wait(0.3)
        assert stop.wait(DEADLINE_SECONDS)
    assert time.monotonic() - (progress.idle_since or 0) >= 20.0


def test_an_unreadable_queue_is_told_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(MemoryQueue):
        def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
            raise NotFound("there is no queue shoal-term-queue")

    watch = TerminateWatch(Missing(SystemClock()), ToldProgress(), StopSignal(), VALID_SECONDS)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watch.look(0)
    assert caplog.text.count("cannot read the terminate queue") == 1


def test_a_notice_of_ec2_drains_like_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.drain.POLL_SECONDS", 0.01)
    stop, announced = StopSignal(), [False]

    def notice() -> str | None:
        return 'spot interruption: {"action": "terminate"}' if announced[0] else None

    with DrainWatch(lambda: None, stop, notice):
        assert not stop.wait(0.2)
        announced[0] = True
        wait_for(lambda: stop.stopping, DEADLINE_SECONDS, "the notice was not seen")
    assert stop.reason.startswith("spot interruption")


def test_a_metadata_service_that_is_slow_at_boot_is_waited_for() -> None:
    failures = [Retryable("timed out"), Retryable("timed out")]

    def read() -> str:
        if failures:
            raise failures.pop()
        return "i-1"

    def never() -> str:
        raise Retryable("timed out")

    stop = StopSignal()
    assert patiently(read, 60.0, lambda: stop.wait(0.01)) == "i-1"
    with pytest.raises(Retryable):
        patiently(never, 0.05, lambda: stop.wait(0.01))
    stop.stop("SIGTERM")
    with pytest.raises(Retryable):
        patiently(never, 60.0, lambda: stop.wait(0.01))
