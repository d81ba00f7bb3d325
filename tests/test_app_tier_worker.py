"""The worker's pipeline on the cloud in memory: order, faults, duplicates, drain."""

from __future__ import annotations

import json
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app_tier.drain import DrainWatch
from app_tier.heartbeat import Heartbeat
from app_tier.worker import FIRST_IN_PROGRESS, LEAST_IN_PROGRESS
from shoal.buckets import deleted_batches
from shoal.buckets.foreign_messages import kept
from shoal.buckets.result_store import store_result
from shoal.clock import SystemClock
from shoal.errors import NotFound, Retryable, StorageFull
from shoal.lifecycle import StopSignal
from shoal.memory import ManualClock, MemoryQueue, memory_cloud
from shoal.messages import CANCELLED, Job, Result
from shoal.ports import Cloud, Depth
from tests.app_tier_fixtures import (
    DEADLINE_SECONDS,
    NamingRecogniser,
    put,
    result,
    short_polls,
    wait_for,
    worker_of,
    working,
)

pytestmark = pytest.mark.usefixtures(short_polls.__name__)


@pytest.fixture
def cloud() -> Cloud:
    return memory_cloud(SystemClock(), visibility_seconds=30)


def test_each_photo_gets_one_result_one_response_and_its_message_is_deleted(cloud: Cloud) -> None:
    payloads = [f"photo{n}".encode() for n in range(100)]
    jobs = put(cloud, *payloads)
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 100)
    assert [result(cloud, job).label for job in jobs] == [payload.decode() for payload in payloads]
    assert cloud.requests.depth().total == 0
    assert cloud.responses.depth().total == 100
    told = result(cloud, jobs[0])
    assert (told.status, told.worker, told.model, told.engine) == ("done", "app-tier-instance-1", "resnet50", "test")
    assert set(told.seconds) == {"queue", "fetch", "decode", "wait", "infer"}


def test_result_then_response_then_delete(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    def noted(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*arguments: object) -> object:
            order.append(name)
            return call(*arguments)

        return wrapper

    put(cloud, b"photo")
    monkeypatch.setattr(cloud.outputs, "put_new", noted("result", cloud.outputs.put_new))
    monkeypatch.setattr(cloud.responses, "send", noted("response", cloud.responses.send))
    monkeypatch.setattr(cloud.requests, "delete", noted("delete", cloud.requests.delete))
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1)
    assert order == ["result", "response", "delete"]


def test_a_bad_photo_fails_alone_and_says_why(cloud: Cloud) -> None:
    bad, good, unserved = *put(cloud, b"bad", b"good"), *put(cloud, b"photo", model="nonesuch")
    gone = put(cloud, b"gone")[0]
    cloud.inputs.delete(gone.key)
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 4)
    assert result(cloud, bad).error == "this is not an image"
    assert result(cloud, good).label == "good"
    assert "nonesuch" in result(cloud, unserved).error
    assert "no longer" in result(cloud, gone).error
    assert cloud.requests.depth().total == 0


def test_batches_fill_under_load_and_nothing_waits_when_idle(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    with working(cloud, recogniser) as worker:
        put(cloud, b"alone")
        wait_for(lambda: worker.finished == 1)
        put(cloud, *[b"some"] * 50)  # until then it holds fewer than it may
        wait_for(lambda: worker.finished == 51)
        recogniser.gate.clear()
        put(cloud, *[b"many"] * 40)
        wait_for(lambda: len(worker._inference_queue) >= 16)
        recogniser.gate.set()
        wait_for(lambda: worker.finished == 91)
    assert recogniser.batches[0] == ("resnet50", 1)
    assert max(recogniser.batches) == ("resnet50", 8)


def test_the_engine_has_the_next_batch_while_an_answer_is_read(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    with working(cloud, recogniser) as worker:
        put(cloud, *[b"first"] * 20)  # until then it holds fewer than it may
        wait_for(lambda: worker.finished == 20)
        recogniser.gate.clear()
        called = recogniser.called
        put(cloud, b"one")
        wait_for(lambda: recogniser.called == called + 1)
        put(cloud, b"two")
        wait_for(lambda: recogniser.called == called + 2)
        recogniser.gate.set()
        wait_for(lambda: worker.finished == 22)
    assert recogniser.batches[-2:] == [("resnet50", 1)] * 2


def test_until_it_knows_how_long_one_takes_a_worker_leaves_all_others_to_other_workers(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    recogniser.gate.clear()
    put(cloud, *[b"many"] * 100)
    with working(cloud, recogniser):
        wait_for(lambda: cloud.requests.depth().in_flight == FIRST_IN_PROGRESS)
        assert cloud.requests.depth().visible == 100 - FIRST_IN_PROGRESS


def test_a_slow_worker_leaves_the_rest_to_others(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.worker.PREFETCH_SECONDS", 0)
    recogniser = NamingRecogniser()
    put(cloud, *[b"first"] * 10)
    with working(cloud, recogniser) as worker:
        wait_for(lambda: worker.finished == 10)
        recogniser.gate.clear()
        put(cloud, *[b"many"] * 100)
        wait_for(lambda: cloud.requests.depth().in_flight == LEAST_IN_PROGRESS)
        assert cloud.requests.depth().visible == 100 - LEAST_IN_PROGRESS


@pytest.mark.parametrize("fault", ["get", "put_new", "send", "delete"])
def test_a_call_that_fails_once_loses_nothing(cloud: Cloud, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.worker.RETRY_SECONDS", 0)
    monkeypatch.setattr("app_tier.store_patience.AGAIN_SECONDS", 0.01)
    port = {"get": cloud.inputs, "put_new": cloud.outputs, "send": cloud.responses, "delete": cloud.requests}[fault]
    jobs = put(cloud, *[b"photo"] * 20)
    works = getattr(port, fault)
    failed = threading.Event()

    def fails_once(*arguments: object) -> object:
        if not failed.is_set():
            failed.set()
            raise Retryable("not now")
        return works(*arguments)

    monkeypatch.setattr(port, fault, fails_once)
    with working(cloud, NamingRecogniser()):
        wait_for(lambda: failed.is_set() and cloud.requests.depth().total == 0)
    assert all(result(cloud, job).status == "done" for job in jobs)
    results = [one.key for one in cloud.outputs.list("") if not one.key.startswith("failures/")]  # why one went back
    assert len(results) == 20


@pytest.mark.parametrize("fault", ["get", "put_new"])
def test_a_store_that_is_away_for_long_makes_no_dead_letter(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.store_patience.AGAIN_SECONDS", 0.01)
    cloud = memory_cloud(SystemClock(), max_deliveries=1)
    store = {"get": cloud.inputs, "put_new": cloud.outputs}[fault]
    jobs = put(cloud, *[b"photo"] * 20)
    works, away, refused = getattr(store, fault), threading.Event(), threading.Semaphore(0)
    away.set()

    def refuses(*arguments: object) -> object:
        if away.is_set():
            refused.release()
            raise StorageFull("no space left")
        return works(*arguments)

    monkeypatch.setattr(store, fault, refuses)
    with working(cloud, NamingRecogniser()) as worker:
        assert all(refused.acquire(timeout=DEADLINE_SECONDS) for _ in range(100))
        assert worker.waits_for_store
        assert cloud.dead_letters.depth().total == 0
        away.clear()
        wait_for(lambda: worker.finished == len(jobs))
        assert not worker.waits_for_store
    assert cloud.dead_letters.depth().total == 0
    assert {result(cloud, job).status for job in jobs} == {"done"}


def test_a_worker_that_leaves_while_the_store_is_full_gives_its_messages_back(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app_tier.worker.RETRY_SECONDS", 0)

    def full(*_: object) -> None:
        raise StorageFull("no space left")

    monkeypatch.setattr(cloud.outputs, "put_new", full)
    put(cloud, *[b"photo"] * 3)
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.waits_for_store)
    assert worker.finished == 0
    assert cloud.requests.depth() == Depth(3, 0, 0)


def test_a_failing_receive_is_tried_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.worker.RECEIVE_PAUSE_SECONDS", 0.01)
    receive = cloud.requests.receive
    calls = iter([True, True])

    def fails_twice(count: int, seconds: float) -> object:
        if next(calls, False):
            raise Retryable("throttled")
        return receive(count, seconds)

    monkeypatch.setattr(cloud.requests, "receive", fails_twice)
    put(cloud, b"photo")
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1)


def test_a_second_delivery_is_harmless(cloud: Cloud) -> None:
    [job] = put(cloud, b"photo")
    cloud.requests.send([job.to_json()])
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 2)
    assert len(list(cloud.outputs.list(""))) == 1


def test_what_a_worker_has_of_a_deleted_batch_is_dropped(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    recogniser.gate.clear()
    jobs = put(cloud, b"one", b"two")
    with working(cloud, recogniser, remember=10) as worker:
        wait_for(lambda: recogniser.called)  # one is in the engine
        deleted_batches.mark(cloud.outputs, jobs[0].batch)
        deleted_batches.purge(cloud.inputs, cloud.outputs, jobs[0].batch)
        cloud.requests.send([jobs[1].to_json()])  # a message that comes later, of a photo that is gone
        worker._deleted._looked_at = float("-inf")  # as if some seconds had passed
        recogniser.gate.set()
        wait_for(lambda: worker.finished == 3)
        assert (worker.dropped, cloud.requests.depth().total) == (3, 0)
        wait_for(lambda: not worker._answers._kept)
    assert [one.key for one in cloud.outputs.list("")] == [f"deleted/{jobs[0].batch}"]
    assert not cloud.responses.depth().total


def test_a_photo_that_was_cancelled_is_finished_and_counts_as_no_image(cloud: Cloud) -> None:
    one, other = put(cloud, b"one", b"other")
    store_result(cloud.outputs, Result.failed(one.key, CANCELLED))
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 2)
    assert worker.dropped == 1
    assert (result(cloud, one).is_cancelled, result(cloud, other).label) == (True, "other")


def test_messages_that_are_not_ours_are_kept_at_their_first_delivery_and_a_foreign_reply_is_refused(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    foreign = put(cloud, b"photo", reply_to="somebody-elses-queue")[0]
    cloud.requests.send(["noise", json.dumps({"v": 99})])
    [good] = put(cloud, b"good")
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1 and cloud.requests.depth().total == 0)
    assert result(cloud, good).label == "good"
    with pytest.raises(NotFound):
        result(cloud, foreign)
    assert "somebody-elses-queue" in caplog.text
    assert {one.body for one in kept(cloud.outputs)} == {"noise", '{"v": 99}', foreign.to_json()}


def test_a_drain_finishes_what_is_held_and_takes_no_more(cloud: Cloud) -> None:
    recogniser = NamingRecogniser()
    recogniser.gate.clear()
    put(cloud, *[b"photo"] * 100)
    with working(cloud, recogniser):
        # Held and begun: what no thread had begun to fetch would be given back.
        wait_for(lambda: recogniser.decoded == FIRST_IN_PROGRESS)
    assert len(list(cloud.outputs.list(""))) == FIRST_IN_PROGRESS
    assert cloud.requests.depth() == cloud.requests.depth().__class__(100 - FIRST_IN_PROGRESS, 0, 0)


def test_a_signal_that_another_thread_gets_stops_the_worker(cloud: Cloud) -> None:
    # The kernel may give a process's signal to any thread, and does so when the process was paused (SIGSTOP, SIGCONT).
    ended, waited = threading.Event(), []
    with StopSignal() as stop:
        worker = worker_of(cloud, NamingRecogniser(), stop)

        def send() -> None:
            wait_for(lambda: worker.finished == 1)
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
            waited.append(ended.wait(DEADLINE_SECONDS))
            if not waited[0]:  # wake the main thread, so that this test ends
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

        put(cloud, b"photo")
        sender = threading.Thread(target=send)
        sender.start()
        worker.run()
        ended.set()
        sender.join()
    assert (stop.reason, waited) == ("SIGTERM", [True])


def test_the_drain_mark_stops_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    answers: Iterator[str | Retryable | None] = iter([None, Retryable("no answer"), Retryable("still"), "2026-01-01"])

    def read() -> str | None:
        answer = next(answers)
        if isinstance(answer, Retryable):
            raise answer
        return answer

    stop = StopSignal()
    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("app_tier.drain.POLL_SECONDS", 0.01)
        with DrainWatch(read, stop):
            assert stop.wait(DEADLINE_SECONDS)
    assert stop.reason == "drain mark"
    assert caplog.text.count("cannot read the drain mark") == 1


def test_the_heartbeat_keeps_held_messages_and_lets_go_of_the_others() -> None:
    clock = ManualClock()
    queue = MemoryQueue(clock, visibility_seconds=30)
    queue.send(["kept", "let go"])
    kept, let_go = queue.receive(10, 0)
    heartbeat = Heartbeat(queue, 30)
    heartbeat.hold(kept.receipt)
    heartbeat.hold(let_go.receipt)
    heartbeat.release(let_go.receipt)
    clock.wait(20)
    heartbeat.step()
    clock.wait(20)
    assert [one.body for one in queue.receive(10, 0)] == ["let go"]


def test_a_missed_heartbeat_is_a_warning(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = MemoryQueue(ManualClock())

    def fails(*_: object) -> None:
        raise Retryable("no route")

    monkeypatch.setattr(queue, "extend", fails)
    heartbeat = Heartbeat(queue, 30)
    heartbeat.step()
    assert not caplog.records
    heartbeat.hold("r1")
    heartbeat.step()
    assert "no route" in caplog.text


def test_a_long_inference_is_not_delivered_to_another_worker() -> None:
    cloud = memory_cloud(SystemClock(), visibility_seconds=1)
    recogniser = NamingRecogniser()
    recogniser.gate.clear()
    put(cloud, b"slow")
    began = time.monotonic()
    with working(cloud, recogniser, visibility_seconds=1) as worker:
        wait_for(lambda: time.monotonic() - began > 2.5)
        assert cloud.requests.receive(10, 0) == []
        recogniser.gate.set()
        wait_for(lambda: worker.finished == 1)


def hostile(key: str) -> list[str]:
    """Request messages of ten kinds that are not ours."""
    return [
        "[" * 1020,
        '{"v":1,"key":' * 70,
        '{"v":1,"key":' + "9" * 1000 + "}",
        '{"v":NaN}',
        f'{{"v":1,"key":"{key}","reply_to":["replies"]}}',
        f'{{"v":1,"key":"{key}\\ud800","reply_to":"replies"}}',
        f'{{"v":1,"key":"{key}","reply_to":"\\udfff"}}',
        f'{{"v":1,"key":"{key[:20]}/{"1" * 900}/a.jpg","reply_to":"replies"}}',
        f'{{"v":1,"key":"{key[:26]}/../../a.jpg","reply_to":"replies"}}',
        "\x00\ufeff",
    ]


def test_hostile_messages_are_kept_at_their_first_delivery_and_the_worker_lives(cloud: Cloud) -> None:
    goods = []
    for number in range(5):
        [good] = put(cloud, f"photo{number}".encode())
        goods.append(good)
        cloud.requests.send(hostile(good.key)[2 * number : 2 * number + 2])
        cloud.requests.send(hostile(good.key)[2 * number : 2 * number + 2])
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 5 and cloud.requests.depth().total == 0)
        [later] = put(cloud, b"later")
        wait_for(lambda: worker.finished == 6)
    assert [result(cloud, good).label for good in goods] == [f"photo{number}" for number in range(5)]
    assert result(cloud, later).label == "later"
    assert len([one for one in cloud.outputs.list("") if not one.key.startswith("foreign/")]) == 6
    assert len(kept(cloud.outputs)) >= 10


def test_a_message_whose_reading_breaks_does_not_end_the_receive_thread(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reads = Job.from_json

    def breaks(body: str) -> Job:
        if body == "breaks":
            raise RecursionError("too deep")
        return reads(body)

    monkeypatch.setattr(Job, "from_json", breaks)
    cloud.requests.send(["breaks"])
    [good] = put(cloud, b"good")
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1 and cloud.requests.depth().in_flight == 1)
    assert result(cloud, good).label == "good"
    assert "too deep" in caplog.text


def test_a_step_that_breaks_does_not_end_its_watcher(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue, looks = MemoryQueue(ManualClock()), threading.Semaphore(0)

    def breaks(*_: object) -> None:
        looks.release()
        raise RecursionError("too deep")

    monkeypatch.setattr(queue, "extend", breaks)
    heartbeat = Heartbeat(queue, visibility_seconds=0)
    heartbeat.hold("r1")
    with heartbeat:
        assert all(looks.acquire(timeout=DEADLINE_SECONDS) for _ in range(3))
    assert caplog.text.count("heartbeat broke") == 1
