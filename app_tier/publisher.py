"""Stores results, sends responses and deletes requests, in this order."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Container, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from app_tier.bucket_events import NOBODY
from app_tier.in_progress import Delivery, Finished
from app_tier.store_patience import StorePatience
from shoal.buckets.result_store import store_result
from shoal.errors import NotFound, Permanent, Retryable
from shoal.messages import Result
from shoal.ports import Cloud, JobQueue

log = logging.getLogger(__name__)

STORE_THREADS = 4
CALL_MESSAGES = 10  # what SQS takes in one call
# A call costs all who take part as much as storing a photo does. A busy worker lets results gather for so long.
GATHER_SECONDS = 0.2
BUSY_MESSAGES = 2 * CALL_MESSAGES  # in progress, so that each waits its turn for longer than that


class RepliesPort(Protocol):
    """The part of `shoal.ports.Replies` that a worker needs."""

    def __contains__(self, name: object) -> bool:
        """Whether a request message may name this queue in `reply_to`."""

    def __getitem__(self, name: str) -> JobQueue:
        """The queue of that name."""


class Publisher:
    """A few threads store results, an object each. One thread sends the responses and deletes the requests.

    While that thread is in a call, the next results gather. Those of a worker with BUSY_MESSAGES in progress gather for
    GATHER_SECONDS, or until ten fill a call; any other result goes at once.
    A context manager around the work: it ends when everything is published.

    replies:     the response queues by name.
    in_progress: how many messages the worker has.
    let_go:      called with the messages that were deleted.
    give_back:   called with messages whose result could not be stored, sent or deleted, and with the reason.
    deleted:     batches that people have deleted: their results are dropped.
    """

    def __init__(
        self,
        cloud: Cloud,
        patience: StorePatience,
        replies: RepliesPort,
        in_progress: Callable[[], int],
        let_go: Callable[[Sequence[Delivery]], None],
        give_back: Callable[[Sequence[Delivery], Exception], None],
        deleted: Container[str] = (),
    ) -> None:
        self._cloud = cloud
        self._patience = patience
        self._replies = replies
        self._in_progress = in_progress
        self._let_go = let_go
        self._give_back = give_back
        self._deleted = deleted
        self._storing = ThreadPoolExecutor(STORE_THREADS, "store")
        self._stored: queue.SimpleQueue[Finished | None] = queue.SimpleQueue()
        self._telling = threading.Thread(target=self._tell_until_closed, name="publish")

    def __enter__(self) -> Publisher:
        self._telling.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._storing.shutdown()
        self._stored.put(None)
        self._telling.join()

    def publish(self, finished: Finished) -> None:
        """Store, send and delete later."""
        self._storing.submit(self._store, finished)

    def _store(self, one: Finished) -> None:
        began = time.perf_counter()
        if one.delivery.job.batch in self._deleted:
            one.delivery.dropped = True
            self._delete([one.delivery])
            return
        try:
            stored = self._patience.call(lambda: self._stored_result(one))
        except Exception as error:
            self._give_back([one.delivery], error)
            return
        one.delivery.note("store", began)
        one.delivery.dropped = stored.is_cancelled
        self._stored.put(Finished(one.delivery, stored))

    def _stored_result(self, one: Finished) -> Result:
        try:
            return store_result(self._cloud.outputs, one.result)
        except Permanent as error:
            # A right or a bucket is missing, or the credentials are wrong: never the fault of a photo.
            raise Retryable(str(error)) from error

    def _tell_until_closed(self) -> None:
        told: list[Delivery] = []
        more, asked = True, float("-inf")
        while more or told:
            some, more = self._take(asked + GATHER_SECONDS, forever=not told)
            asked = time.monotonic()
            told += self._tell(some)
            if not some or len(told) >= CALL_MESSAGES // 2:
                self._delete(told[:CALL_MESSAGES])
                told = told[CALL_MESSAGES:]

    def _take(self, until: float, forever: bool) -> tuple[list[Finished], bool]:
        """Stored results, up to a call of them, and whether more may come.

        until:   how long those of a busy worker gather, by `time.monotonic()`.
        forever: wait as long as it takes for the first.
        """
        some: list[Finished] = []
        while len(some) < CALL_MESSAGES:
            busy = self._in_progress() >= BUSY_MESSAGES
            seconds = max(0.0, until - time.monotonic()) if busy else 0.0
            try:
                one = self._stored.get(timeout=None if forever and not some else seconds)
            except queue.Empty:
                break
            if one is None:
                self._stored.put(None)  # for the next look
                return some, False
            some.append(one)
        return some, True

    def _tell(self, some: Sequence[Finished]) -> list[Delivery]:
        by_queue: dict[str, list[Finished]] = {}
        for one in some:
            by_queue.setdefault(one.delivery.job.reply_to, []).append(one)
        return [delivery for reply_to, group in by_queue.items() for delivery in self._send(reply_to, group)]

    def _send(self, reply_to: str, group: Sequence[Finished]) -> list[Delivery]:
        deliveries = [one.delivery for one in group]
        stored = [one.ended for one in deliveries]
        for one, began in zip(deliveries, stored, strict=True):
            one.note("publish", began)  # as far as the response itself can tell
        try:
            if reply_to != NOBODY:
                self._replies[reply_to].send([one.result.to_json() for one in group])
        except NotFound as error:
            # Its web process is gone. Clients that wait read the results from the bucket.
            log.debug("%d responses have no reader: %s", len(group), error)
        except Exception as error:
            self._give_back(deliveries, error)
            return []
        for one, began in zip(deliveries, stored, strict=True):
            one.note("publish", began)
        return deliveries

    def _delete(self, deliveries: Sequence[Delivery]) -> None:
        if not deliveries:
            return
        try:
            self._cloud.requests.delete([one.message.receipt for one in deliveries])
        except Exception as error:
            self._give_back(deliveries, error)
            return
        self._let_go(deliveries)
