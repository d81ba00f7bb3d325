"""Queues and objects under hostile mode: each kind of fault, seen by a client that tries once."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from local_cloud.hostile.dice import Hostility
from tests.hostile_fixtures import CERTAIN, HostileServices, hostile_services
from tests.waiting import until


@contextlib.contextmanager
def faulty_queue(tmp_path: Path, *only: str, seed: int = 1, rate: float = CERTAIN) -> Iterator["Queue"]:
    """A queue whose messages, when they come back, come back after a second."""
    with hostile_services(tmp_path, Hostility(seed, only, rate, scale=0.01)) as services:
        yield Queue(services)


class Queue:
    def __init__(self, services: HostileServices) -> None:
        self.services = services
        self._sqs = services.client("sqs")
        self._url = self._sqs.create_queue(QueueName="jobs", Attributes={"VisibilityTimeout": "1"})["QueueUrl"]

    def send(self, *bodies: str) -> None:
        entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
        self._sqs.send_message_batch(QueueUrl=self._url, Entries=entries)

    def receive(self) -> list[dict[str, Any]]:
        found = self._sqs.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        messages: list[dict[str, Any]] = found.get("Messages", [])
        return messages

    def gather(self, bodies: set[str]) -> list[str]:
        """Receive until all of these came; what came, in its order."""
        got: list[str] = []

        def all_came() -> bool:
            got.extend(one["Body"] for one in self.receive())
            return bodies <= set(got)

        until(all_came)
        return list(dict.fromkeys(got))

    def delete(self, *messages: dict[str, Any]) -> tuple[list[str], list[tuple[str, str]]]:
        """Ids that were deleted, ids that were not and why."""
        entries = [{"Id": one["Body"], "ReceiptHandle": one["ReceiptHandle"]} for one in messages]
        answer = self._sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        failed = [(one["Id"], one["Code"]) for one in answer.get("Failed", [])]
        return [one["Id"] for one in answer.get("Successful", [])], failed

    def delete_one(self, message: dict[str, Any]) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=message["ReceiptHandle"])

    def count(self) -> int:
        answer = self._sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["All"])
        return int(answer["Attributes"]["ApproximateNumberOfMessages"])


def test_a_duplicate_comes_after_the_delete(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "duplicate-delivery") as queue:
        queue.send("a")
        [first] = queue.receive()
        assert queue.delete(first) == (["a"], [])
        [again] = until(queue.receive)
        assert (again["MessageId"], again["Body"]) == (first["MessageId"], "a")
        assert queue.count() == 0
        assert queue.services.faults() == {"duplicate-delivery": 1}


def test_a_late_message_is_overtaken(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "late-delivery", rate=10) as queue:  # half of them
        sent = [f"{number:02}" for number in range(20)]
        queue.send(*sent[:10])
        queue.send(*sent[10:])
        got = queue.gather(set(sent))
        assert sorted(got) == sent
        assert got != sent
        assert 0 < queue.services.faults()["late-delivery"] < 20


def test_an_answer_comes_in_any_order(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "shuffled-delivery") as queue:
        sent = list("abcdefghij")
        queue.send(*sent)
        got = [one["Body"] for one in queue.receive()]
        assert sorted(got) == sent
        assert got != sent


def test_a_receive_brings_fewer_messages_than_there_are_and_none_is_lost(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "short-receive") as queue:
        queue.send(*"abcdefghij")
        answers = [queue.receive() for _ in range(20)]
        assert max(len(answer) for answer in answers) < 10
        assert [] in answers
        queue.gather(set("abcdefghij"))


def test_a_failed_delete_brings_the_message_again(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "failed-delete") as queue:
        queue.send("a", "b")
        messages = queue.receive()
        assert queue.delete(*messages) == ([], [("a", "InternalError"), ("b", "InternalError")])
        with pytest.raises(botocore.exceptions.ClientError, match="InternalError"):
            queue.delete_one(messages[0])
        until(lambda: queue.count() == 2)


def test_a_delete_may_fail_after_it_was_done(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "late-failed-delete") as queue:
        queue.send("a", "b")
        first, second = queue.receive()
        assert queue.delete(first) == ([], [("a", "InternalError")])
        with pytest.raises(botocore.exceptions.ClientError, match="InternalError"):
            queue.delete_one(second)
        # What was really deleted has an invalid handle now; what came back would have one that is old but known.
        assert dict(queue.delete(first, second)[1]) == {"a": "ReceiptHandleIsInvalid", "b": "ReceiptHandleIsInvalid"}


def test_a_delete_that_was_answered_well_may_not_have_been_done(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "undone-delete") as queue:
        queue.send("a", "b")
        messages = queue.receive()
        assert queue.delete(*messages) == (["a", "b"], [])
        until(lambda: queue.count() == 2)


def test_counts_read_zero(tmp_path: Path) -> None:
    with faulty_queue(tmp_path, "zero-count") as queue:
        queue.send("a", "b")
        assert queue.count() == 0
        assert len(queue.receive()) == 2


def test_counts_lag(tmp_path: Path) -> None:
    with hostile_services(tmp_path, Hostility(1, ("stale-count",), CERTAIN, scale=1)) as services:
        queue = Queue(services)
        assert queue.count() == 0
        queue.send("a")
        found = [queue.count() for _ in range(20)]
        assert set(found) == {0, 1}
        assert services.faults()["stale-count"] == found.count(0)


def test_the_same_calls_meet_the_same_faults(tmp_path: Path) -> None:
    def story(place: str, seed: int) -> list[list[str]]:
        kinds = ("shuffled-delivery", "failed-delete", "undone-delete")
        with faulty_queue(tmp_path / place, *kinds, seed=seed, rate=10) as queue:
            told: list[list[str]] = []
            for start in range(0, 50, 10):
                queue.send(*(str(number) for number in range(start, start + 10)))
                messages = queue.receive()
                told.append([one["Body"] for one in messages])
                told.append(sorted(queue.delete(*messages)[0]))
            return told

    first = story("first", 1)
    assert story("again", 1) == first
    assert story("other", 2) != first


def test_s3_says_slow_down_and_keeps_its_promise_when_it_does_not(tmp_path: Path) -> None:
    with hostile_services(tmp_path, Hostility(3, ("slow-down",), rate=25)) as services:
        s3 = services.client("s3")
        until(lambda: _works(lambda: s3.create_bucket(Bucket="photos")))
        stored = {
            f"{n}" for n in range(40) if _works(lambda n=n: s3.put_object(Bucket="photos", Key=f"{n}", Body=b"x"))
        }
        listed = until(lambda: _tried(lambda: s3.list_objects_v2(Bucket="photos")))
        assert {one["Key"] for one in listed["Contents"]} == stored
        assert 0 < len(stored) < 40
        assert services.faults()["slow-down"] >= 40 - len(stored)


def test_the_first_byte_of_s3_is_slow(tmp_path: Path) -> None:
    with hostile_services(tmp_path, Hostility(1, ("slow-first-byte",), CERTAIN)) as services:
        s3 = services.client("s3")
        s3.create_bucket(Bucket="photos")
        began = time.monotonic()
        s3.put_object(Bucket="photos", Key="a", Body=b"bytes")
        assert s3.get_object(Bucket="photos", Key="a")["Body"].read() == b"bytes"
        assert time.monotonic() - began > 0.2
        assert services.faults() == {"slow-first-byte": 3}


def _works(call: Any) -> bool:
    return _tried(call) is not None


def _tried(call: Any) -> Any:
    """What the call gives; None when it was turned away as S3 does it."""
    try:
        return call()
    except botocore.exceptions.ClientError as error:
        told = error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]
        if told != ("SlowDown", 503):
            raise
        return None
