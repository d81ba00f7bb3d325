"""Replies on Amazon SQS: the response queues of one Shoal.

A queue's LastModifiedTimestamp, by the service's clock, tells when its process last gave a sign of life. For that, the
process sets a new retention time now and then.
"""

from __future__ import annotations

import re
import secrets
from functools import lru_cache, partial

from shoal.aws.clients import Service, error_code, our_errors
from shoal.aws.sqs import SqsQueue, create_queue
from shoal.errors import NotFound, Permanent, Retryable
from shoal.ports import JobQueue

RETENTION_SECONDS = 3600  # at least: no caller waits longer, and the result is in the bucket
VISIBILITY_SECONDS = 30
OPENED = 256  # how many queues are remembered


class SqsReplies:
    """The common response queue, and those of web processes, whose names begin with its name.

    dead_letters, max_deliveries: where a response goes that was delivered so often and not deleted.
    """

    def __init__(self, sqs: Service, common: str, dead_letters: str, max_deliveries: int) -> None:
        self._sqs = sqs
        self._common = common
        self._dead_letters = dead_letters
        self._max_deliveries = max_deliveries
        self._own = re.compile(f"{re.escape(common)}-[0-9a-f]{{12}}")
        self._open = lru_cache(OPENED)(partial(SqsQueue, sqs))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in ("", self._common) or bool(self._own.fullmatch(name)))

    def __getitem__(self, name: str) -> JobQueue:
        return self._open(name or self._common)

    def keep(self, name: str) -> JobQueue:
        retention = RETENTION_SECONDS + secrets.randbelow(RETENTION_SECONDS)
        try:
            create_queue(
                self._sqs.client,
                name,
                VISIBILITY_SECONDS,
                dead_letters=self._dead_letters,
                max_deliveries=self._max_deliveries,
                retention_seconds=retention,
                touch=True,
            )
        except Permanent as error:
            if error_code(error) == "QueueDeletedRecently":
                raise Retryable(str(error)) from error
            raise
        return self._open(name)

    def kept(self) -> dict[str, float]:
        with our_errors(f"response queues {self._common}-*"):
            pages = self._sqs.client.get_paginator("list_queues").paginate(QueueNamePrefix=f"{self._common}-")
            names = [url.rpartition("/")[2] for page in pages for url in page.get("QueueUrls", ())]
        found = {name: self._kept_at(name) for name in names if self._own.fullmatch(name)}
        return {name: at for name, at in found.items() if at is not None}

    def _kept_at(self, name: str) -> float | None:
        try:
            url = SqsQueue(self._sqs, name).url
            with our_errors(f"age of {name}"):
                answer = self._sqs.client.get_queue_attributes(QueueUrl=url, AttributeNames=["LastModifiedTimestamp"])
        except NotFound:
            return None  # removed after it was listed
        return float(answer["Attributes"]["LastModifiedTimestamp"])

    def remove(self, name: str) -> None:
        if not self._own.fullmatch(name):
            raise Permanent(f"{name} is not the response queue of a web process")
        try:
            url = SqsQueue(self._sqs, name).url
            with our_errors(f"remove queue {name}"):
                self._sqs.client.delete_queue(QueueUrl=url)
        except NotFound:
            return
