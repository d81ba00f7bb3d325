"""Labels the photos that events of S3 announce."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from app_tier.bucket_events import BucketEvents, read_event
from inference import images, process
from inference.process import Recogniser
from shoal.errors import BadImage, MalformedMessage, NotFound, Retryable
from shoal.messages import SHOWN, Job, Result
from shoal.ports import ObjectStore

log = logging.getLogger(__name__)

ATTEMPTS = 5


class Tables(Protocol):
    """Where the labels of photos can be searched."""

    def record(self, url: str, order: str, result: Result) -> Literal["first", "replaced", "late"]:
        """Replace what is known of a photo, unless a later event of it is known. Returns whether something was known.

        order: of the event; orders of one photo sort by time. late: a later event is known. Raises Retryable.
        """

    def latest(self, url: str) -> str:
        """The order of the latest event that was recorded of a photo. Raises Retryable."""


class EventLabeller:
    """Labels photos, stores each result, then records it in the tables. To handle an event twice does no harm.

    bucket, inputs: the input bucket's name and the bucket; outputs: the output bucket.
    prefix:         where in the input bucket the photos are.
    max_bytes:      the size of the largest photo.
    name:           what the results call the worker.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        bucket: str,
        inputs: ObjectStore,
        outputs: ObjectStore,
        tables: Tables,
        prefix: str,
        max_bytes: int,
        name: str,
    ) -> None:
        self._recogniser = recogniser
        self._bucket = bucket
        self._inputs = inputs
        self._outputs = outputs
        self._tables = tables
        self._events = BucketEvents(bucket, prefix, sys.maxsize)
        self._max_bytes = max_bytes
        self._name = name

    def handle(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Label each photo of an event of S3, or of messages of a queue that hold such events.

        Returns the ids of the messages to deliver again, as Lambda expects it. For an event of S3 itself it raises
        Retryable when a photo could not be labelled, after the others: Lambda then delivers the event again, and
        sends it to the failure destination at last.
        """
        if not isinstance(event, Mapping):  # all who may invoke the function may send any JSON
            raise MalformedMessage(f"not an event of S3: {str(event)[:SHOWN]}")
        records = event.get("Records")
        if event.get("Event") == "s3:TestEvent":
            return {"batchItemFailures": []}
        if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
            raise MalformedMessage(f"not an event of S3: {str(event)[:SHOWN]}")
        if any(one.get("eventSource") == "aws:sqs" for one in records):
            failed = [one["messageId"] for one in records if self._failures(_of_message(one))]
            return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in failed]}
        if failures := self._failures(records):
            raise Retryable(f"{len(failures)} of {len(records)} photos are not labelled: {failures[0]}")
        return {"batchItemFailures": []}

    def _failures(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """Label the photos; returns why some could not be labelled."""
        failures = []
        for record in records:
            try:
                self._label(record)
            except Exception as error:
                log.exception("an event is not handled")
                failures.append(f"{type(error).__name__}: {error}")
        return failures

    def _label(self, record: Mapping[str, Any]) -> None:
        job = self._events.photo({"Records": [dict(record)]})
        if job is None:
            return  # a folder, a deleted object, or a photo that has a request message
        described = record["s3"]["object"]
        try:
            images.check_bytes(int(described.get("size", 1)), self._max_bytes)
            result = self._result(job)
        except BadImage as error:
            result = Result.failed(job.key, str(error), bad_photo=True)
        except NotFound:
            self._tell_missing(job)
            return
        self._keep(job, str(described.get("sequencer", "")), result)

    def _result(self, job: Job) -> Result:
        """Label the photo as it is now. Raises NotFound when it is gone."""
        began = time.perf_counter()
        photo = self._inputs.get(job.key)
        fetched = time.perf_counter() - began
        result = process.process(self._recogniser, job, photo)
        return replace(result, seconds={"fetch": fetched, **result.seconds})

    def _keep(self, job: Job, order: str, result: Result) -> None:
        """Store a result, then record it. A document that is there is overwritten by the latest event alone.

        Several events of one photo may be handled at the same time, by functions that fetched other versions of it.
        """
        url = f"s3://{self._bucket}/{job.key}"
        is_new = self._outputs.put_new(job.key, self._document(result), "application/json")
        told = self._tables.record(url, order, result)
        # "replaced", though the document was new: an earlier event may have overwritten it before this one was known.
        if told == "replaced" or (told == "first" and not is_new):
            self._overwrite(job, url, order, result)

    def _overwrite(self, job: Job, url: str, order: str, result: Result) -> None:
        """Overwrite the document, unless a later event does. Raises Retryable."""
        if self._tables.latest(url) != order:
            return
        for _ in range(ATTEMPTS):
            self._outputs.put(job.key, self._document(result), "application/json")
            latest = self._tables.latest(url)
            if latest == order:
                return
            # Of the two documents the later event's may be the one that is overwritten now.
            try:
                order, result = latest, self._result(job)
            except NotFound:
                return
        raise Retryable(f"{job.key}: another event of the same photo is handled at the same time")

    def _document(self, result: Result) -> bytes:
        return replace(result, worker=self._name).to_json().encode()

    def _tell_missing(self, job: Job) -> None:
        """Store a failed result, unless the photo was labelled before it was deleted."""
        result = Result.failed(job.key, "the photo is no longer in the input bucket", self._name)
        self._outputs.put_new(job.key, result.to_json().encode(), "application/json")


def _of_message(message: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The events of S3 in a message of a queue; a message without such events is itself returned, to fail."""
    event = read_event(str(message.get("body", "")))
    if event is None:
        return [message]
    records: Sequence[Mapping[str, Any]] = event.get("Records", ())
    return records
