"""What autoscalers get wrong around the controller: messages, workers, the cloud's API. As test_controller_pitfalls."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

from app_tier.terminate import TerminateWatch
from app_tier.worker import FIRST_IN_PROGRESS
from controller.sweeper import Sweeper
from shoal.aws.instance_choice import InstanceChoice
from shoal.aws.sqs import create_queue
from shoal.clock import SystemClock
from shoal.errors import CapacityUnavailable, Retryable
from shoal.lifecycle import StopSignal
from shoal.memory import ManualClock, MemoryQueue, memory_cloud
from shoal.messages import Job, new_batch
from shoal.ports import Depth
from tests.app_tier_fixtures import NamingRecogniser, ToldProgress, put, result, wait_for, working

ROOT = Path(__file__).parent.parent
QUIET = 10.0


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app_tier.worker.POLL_SECONDS", 0.05)


# visibility too short or too long


def test_work_longer_than_the_visibility_timeout_is_done_once() -> None:
    """celery#5935: a short timeout, renewed for as long as the work lasts.

    Mutation: app_tier/heartbeat.py: `self._queue.extend(receipts, self._visibility_seconds)` -> `pass`
    """
    cloud = memory_cloud(SystemClock(), visibility_seconds=3)
    recogniser = NamingRecogniser()
    recogniser.gate.clear()
    put(cloud, b"slow")
    with working(cloud, recogniser, visibility_seconds=3) as worker:
        wait_for(lambda: worker.in_progress == 1)
        taken_away = threading.Event()
        assert not taken_away.wait(3.5)
        assert cloud.requests.receive(10, 0) == []
        recogniser.gate.set()
        wait_for(lambda: worker.finished == 1)


def test_work_done_twice_gives_one_object() -> None:
    """A result's key is the photo's, so a second delivery overwrites the same with the same.

    Mutation: app_tier/publisher.py: `store_result(self._cloud.outputs, one.result)`
    -> `self._cloud.outputs.put(one.outcome.key + one.delivery.message.receipt, b"", "") or one.result`
    """
    cloud = memory_cloud(SystemClock(), visibility_seconds=30)
    [job] = put(cloud, b"photo")
    cloud.requests.send([job.to_json()])
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 2)
    assert [one.key for one in cloud.outputs.list("")] == [job.key]


# duplicates at shutdown


def test_nothing_is_received_after_the_stop() -> None:
    """celery#4002, kombu#2049: polling ends first; what is held is finished, the rest is left to others.

    Mutation: app_tier/worker.py: `while not self._stop.stopping:` -> `for _ in range(200):`, and
    `if places and not self._stop.stopping:` -> `if places:`
    """
    cloud = memory_cloud(SystemClock(), visibility_seconds=30)
    recogniser = NamingRecogniser()
    recogniser.gate.clear()
    put(cloud, *[b"photo"] * 100)
    with working(cloud, recogniser):
        # Held and begun: what no thread had begun to fetch would be given back.
        wait_for(lambda: recogniser.decoded == FIRST_IN_PROGRESS)
    assert len(list(cloud.outputs.list(""))) == FIRST_IN_PROGRESS
    assert cloud.requests.depth() == Depth(100 - FIRST_IN_PROGRESS, 0, 0)
    assert {one.deliveries for one in cloud.requests.receive(10, 0)} == {1}


# acknowledge first, lose on crash


@pytest.mark.parametrize("dies", ["store", "respond"])
def test_a_message_is_deleted_last(dies: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """practo/k8s-worker-pod-autoscaler#30: result, response, then delete. A worker that dies before the end has
    deleted nothing.

    Mutation: app_tier/worker.py: `self._heartbeat.hold(message.receipt)`
    -> `self._cloud.requests.delete([message.receipt])`
    """
    cloud = memory_cloud(SystemClock(), visibility_seconds=30)
    died = threading.Event()

    def die(*_: object) -> None:
        died.set()
        raise Retryable("the power went")

    with monkeypatch.context() as dying:
        target, name = (cloud.outputs, "put_new") if dies == "store" else (cloud.responses, "send")
        dying.setattr(target, name, die)
        [job] = put(cloud, b"photo")
        with working(cloud, NamingRecogniser()):
            wait_for(died.is_set)
        assert cloud.requests.depth().total == 1
    with working(cloud, NamingRecogniser()) as worker:
        wait_for(lambda: worker.finished == 1)
    assert result(cloud, job).status == "done"


# retention expiry loses work silently


def test_messages_are_kept_as_long_as_sqs_keeps_any() -> None:
    """wellcomecollection/catalogue-pipeline#2737.

    Mutation: shoal/aws/sqs.py: `RETENTION_SECONDS = 14 * 24 * 3600` -> `RETENTION_SECONDS = 4 * 24 * 3600`
    """
    asked: dict[str, str] = {}

    class Sqs:
        def create_queue(self, QueueName: str, Attributes: dict[str, str]) -> dict[str, str]:  # noqa: N803 - boto3's
            asked.update(Attributes)
            return {"QueueUrl": QueueName}

    create_queue(Sqs(), "q", 30)
    assert asked["MessageRetentionPeriod"] == "1209600"


def test_a_photo_whose_message_expired_is_queued_again() -> None:
    """Mutation: controller/sweeper.py: `if one.key not in answered and one.modified_at < limit` -> `if False`"""
    clock = ManualClock()
    cloud = memory_cloud(clock)
    job = Job(new_batch(clock.now()), 0, "cat.jpg", "replies")
    cloud.inputs.put(job.key, b"photo", "image/jpeg")
    clock.wait(61)
    sweeper = Sweeper(cloud, clock, "replies", 60.0, 4)
    sweeper.sweep()
    clock.wait(61)
    sweeper.sweep()
    assert cloud.requests.depth().total == 1


# capacity errors


def test_what_was_not_to_be_had_is_remembered_and_others_are_asked() -> None:
    """karpenter-provider-aws#371, github-runner#2926: type and zone are remembered for three minutes, others are tried,
    and on demand takes the place of spot.

    Mutation: shoal/aws/instance_choice.py: `if option not in self._missing` -> `if True`
    """
    now = [0.0]
    offers = InstanceChoice(["t3.medium", "t3.large"], ["a", "b"], 1.0, 180.0, lambda: now[0])
    asked = []
    for _ in range(8):
        offer = offers.choose(1, 0, 0).option
        asked.append(offer)
        offers.missing(offer)
    assert len(set(asked)) == 8
    assert [offer.spot for offer in asked] == [True] * 4 + [False] * 4
    with pytest.raises(CapacityUnavailable, match="not asked again for 180 s after that"):
        offers.choose(1, 0, 0)
    now[0] = 180.0
    assert offers.choose(1, 0, 0).option.spot


# clock skew


def test_terminate_messages_expire_by_the_queues_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are valid for a few seconds; a worker's wrong clock does not matter.

    Mutation: app_tier/terminate.py: `message.received_at - message.sent_at` -> `time.time() - message.sent_at`
    """
    clock = ManualClock()  # of 2023: the queue's clock is far from this machine's

    stop = StopSignal()
    queue = MemoryQueue(clock)
    watch = TerminateWatch(queue, ToldProgress(), stop, 5.0)
    queue.send(["terminate"])
    clock.wait(6)
    watch.look(0)
    assert not stop.stopping
    queue.send(["terminate"])
    clock.wait(4)
    watch.look(0)
    assert stop.stopping


# errors swallowed by a bare except


def test_nothing_is_ignored_wholesale() -> None:
    """No bare except, and no broad one whose body does nothing with the error.

    Mutation: controller/sweeper.py: `except MalformedMessage:` -> `except:`
    """
    rooms = ("shoal", "controller", "app_tier", "web_tier", "inference")
    for path in (path for room in rooms for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                assert node.type is not None, f"{path}:{node.lineno}: bare except"
                broad = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
                assert not broad or not isinstance(node.body[0], ast.Pass | ast.Continue), f"{path}:{node.lineno}"
