"""JobQueue on Amazon SQS (a standard queue)."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from shoal.aws import signed
from shoal.aws.clients import Service, error_code, our_errors
from shoal.errors import NotFound, Permanent, Retryable
from shoal.ports import Depth, Received
from shoal.retry import patiently

T = TypeVar("T")

PROTOCOL = "AmazonSQS"
BATCH = 10  # SQS' own limit for send, receive, delete and change of visibility
RETENTION_SECONDS = 14 * 24 * 3600  # SQS' maximum: a backlog must never expire silently

NEW_SECONDS = 2.0
_STALE_RECEIPT = {"ReceiptHandleIsInvalid", "InvalidParameterValue", "MessageNotInflight"}


class SqsQueue:
    """One queue by its name. The queue is looked up at the first use."""

    def __init__(self, sqs: Service, name: str) -> None:
        self._sqs = sqs
        self._url = ""
        self.name = name

    @property
    def url(self) -> str:
        """The queue's URL. Raises NotFound."""
        # Not a cached_property: in Python 3.11 all queues share its lock, one that hangs blocks all.
        if not self._url:
            with our_errors(f"queue {self.name}"):
                self._url = str(signed.call_json(self._sqs, PROTOCOL, "GetQueueUrl", QueueName=self.name)["QueueUrl"])
        return self._url

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]] = ()) -> None:
        each = zip(bodies, attributes or [{}] * len(bodies), strict=True)
        for part in _tens([_entry(body, own) for body, own in each]):
            entries = [{"Id": str(number), **entry} for number, entry in enumerate(part)]
            with our_errors(f"send to {self.name}"):
                answer = self._call("SendMessageBatch", Entries=entries)
            self._raise_if_refused("send to", answer)

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        with our_errors(f"receive from {self.name}"):
            answer = self._call(
                "ReceiveMessage",
                MaxNumberOfMessages=min(max_messages, BATCH),
                WaitTimeSeconds=min(math.ceil(wait_seconds), 20),
                MessageSystemAttributeNames=[
                    "ApproximateReceiveCount",
                    "SentTimestamp",
                    "ApproximateFirstReceiveTimestamp",
                ],
                MessageAttributeNames=["All"],
            )
        return [_received(message) for message in answer.get("Messages", ())]

    def delete(self, receipts: Sequence[str]) -> None:
        for part in _tens(receipts):
            entries = [{"Id": str(number), "ReceiptHandle": receipt} for number, receipt in enumerate(part)]
            with our_errors(f"delete from {self.name}"):
                answer = self._call("DeleteMessageBatch", Entries=entries)
            self._raise_if_refused("delete from", answer, _STALE_RECEIPT)

    def extend(self, receipts: Sequence[str], seconds: int) -> None:
        for part in _tens(receipts):
            entries = [
                {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": seconds}
                for number, receipt in enumerate(part)
            ]
            with our_errors(f"change visibility in {self.name}"):
                answer = self._call("ChangeMessageVisibilityBatch", Entries=entries)
            self._raise_if_refused("change visibility in", answer, _STALE_RECEIPT)

    def depth(self) -> Depth:
        names = (
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateNumberOfMessagesDelayed",
        )
        with our_errors(f"counts of {self.name}"):
            answer = self._call("GetQueueAttributes", AttributeNames=list(names))
        attributes = answer.get("Attributes", {})
        if any(name not in attributes for name in names):
            raise Retryable(f"counts of {self.name}: SQS answered without them")
        return Depth(*(int(attributes[name]) for name in names))

    def _call(self, action: str, **members: Any) -> dict[str, Any]:
        return signed.call_json(self._sqs, PROTOCOL, action, QueueUrl=self.url, **members)

    def _raise_if_refused(
        self, what: str, answer: dict[str, Any], harmless: set[str] | frozenset[str] = frozenset()
    ) -> None:
        refused = [entry for entry in answer.get("Failed", ()) if entry.get("Code") not in harmless]
        if not refused:
            return
        first = refused[0]
        text = f"{what} {self.name}: {len(refused)} refused: {first.get('Code')}: {first.get('Message', '')}"
        raise Permanent(text) if first.get("SenderFault") else Retryable(text)


def _received(message: dict[str, Any]) -> Received:
    attributes = message.get("Attributes", {})
    deliveries = int(attributes.get("ApproximateReceiveCount", 1))
    first = int(attributes.get("ApproximateFirstReceiveTimestamp", 0)) / 1000
    return Received(
        message["Body"],
        message["ReceiptHandle"],
        deliveries,
        int(attributes.get("SentTimestamp", 0)) / 1000,
        first if deliveries == 1 else max(first, time.time()),  # SQS tells the time of the first delivery only
        {name: one.get("StringValue", "") for name, one in message.get("MessageAttributes", {}).items()},
    )


def _entry(body: str, attributes: Mapping[str, str]) -> dict[str, Any]:
    if not attributes:
        return {"MessageBody": body}
    typed = {name: {"DataType": "String", "StringValue": text} for name, text in attributes.items()}
    return {"MessageBody": body, "MessageAttributes": typed}


def _tens(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + BATCH] for start in range(0, len(items), BATCH))


def create_queue(
    sqs: Any,
    name: str,
    visibility_seconds: int,
    max_bytes: int = 262_144,
    dead_letters: str = "",
    max_deliveries: int = 0,
    retention_seconds: int = RETENTION_SECONDS,
    touch: bool = False,
) -> None:
    """Make the queue, or change an existing queue to these settings. `dead_letters` names an existing queue.

    touch: set them even if they are the same, which updates the queue's time of last change.
    """
    attributes = {
        "VisibilityTimeout": str(visibility_seconds),
        "MaximumMessageSize": str(max_bytes),
        "MessageRetentionPeriod": str(retention_seconds),
    }
    if dead_letters:
        attributes["RedrivePolicy"] = json.dumps(
            {"deadLetterTargetArn": queue_arn(sqs, dead_letters), "maxReceiveCount": max_deliveries}
        )
    with our_errors(f"set up queue {name}"):
        try:
            with our_errors(f"create queue {name}"):
                url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
            if not touch:
                return
        except Permanent as error:
            if error_code(error) not in {"QueueAlreadyExists", "QueueNameExists"}:
                raise
            url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        _set_attributes(sqs, name, url, attributes)


def _set_attributes(sqs: Any, name: str, url: str, attributes: dict[str, str]) -> None:
    """A queue that is not known yet was made a moment ago, with these attributes."""
    with suppress(NotFound), our_errors(f"attributes of {name}"):
        sqs.set_queue_attributes(QueueUrl=url, Attributes=attributes)


def most_deliveries(sqs: Any, name: str) -> int:
    """After how many deliveries a message of this queue becomes a dead letter; 0 for never. Raises NotFound."""
    with our_errors(f"queue {name}"):
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["RedrivePolicy"])
    policy = json.loads(answer.get("Attributes", {}).get("RedrivePolicy", "{}"))
    return int(policy.get("maxReceiveCount", 0))


def queue_arn(sqs: Any, name: str) -> str:
    """The ARN of a queue. Raises NotFound.

    SQS needs about a second until a new queue is known everywhere, so a missing one is looked for a little longer.
    """

    def look() -> str:
        try:
            with our_errors(f"queue {name}"):
                url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
                answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        except NotFound as error:
            raise Retryable(str(error)) from error
        return str(answer["Attributes"]["QueueArn"])

    try:
        return patiently(look, NEW_SECONDS, lambda: time.sleep(NEW_SECONDS / 8))
    except Retryable as error:
        if isinstance(error.__cause__, NotFound):
            raise error.__cause__ from None
        raise
