"""Results on their way out: stored, then told, then the request deleted, in this order."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from app_tier.in_progress import Delivery, Finished
from shoal.errors import NotFound
from shoal.ports import Cloud, JobQueue

log = logging.getLogger(__name__)

STORE_THREADS = 4
CALL_MESSAGES = 10  # what SQS takes in one call


class RepliesPort(Protocol):
    """The part of `shoal.ports.Replies` that a worker needs."""

    def __contains__(self, name: object) -> bool:
        """Whether a request message may name this queue in `reply_to`."""

    def __getitem__(self, name: str) -> JobQueue:
        """The queue of that name."""


class Publisher:
    """Results are stored one by one on a few threads: a bucket knows no other way. Behind them one thread sends the
    responses and deletes the requests. While it is in a call, the next results gather: ten go in a call under load,
    one goes at once when there is nothing else to do. A context manager around the work: it ends when all is published.

    replies:   the response queues by name.
    let_go:    told of every message that was deleted.
    give_back: told of every message whose result could not be stored, told or deleted, with the reason.
    """

    def __init__(
        self,
        cloud: Cloud,
        replies: RepliesPort,
        let_go: Callable[[Sequence[Delivery]], None],
        give_back: Callable[[Sequence[Delivery], Exception], None],
    ) -> None:
        self._cloud = cloud
        self._replies = replies
        self._let_go = let_go
        self._give_back = give_back
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
        """Store, tell and delete later."""
        self._storing.submit(self._store, finished)

    def _store(self, one: Finished) -> None:
        began = time.perf_counter()
        try:
            self._cloud.outputs.put(one.outcome.key, one.result.to_json().encode(), "application/json")
        except Exception as error:
            self._give_back([one.held], error)
            return
        one.held.note("store", began)
        self._stored.put(one)

    def _tell_until_closed(self) -> None:
        told: list[Delivery] = []
        more = True
        while more or told:
            some, more = self._take(wait=not told)
            told += self._tell(some)
            if not some or len(told) >= CALL_MESSAGES:
                self._delete(told[:CALL_MESSAGES])
                told = told[CALL_MESSAGES:]

    def _take(self, wait: bool) -> tuple[list[Finished], bool]:
        """What is stored, up to a call's worth, and whether more may come."""
        some: list[Finished] = []
        while len(some) < CALL_MESSAGES:
            try:
                one = self._stored.get(block=wait and not some)
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
            by_queue.setdefault(one.held.job.reply_to, []).append(one)
        return [held for reply_to, group in by_queue.items() for held in self._send(reply_to, group)]

    def _send(self, reply_to: str, group: Sequence[Finished]) -> list[Delivery]:
        held = [one.held for one in group]
        stored = [one.ended for one in held]
        for one, began in zip(held, stored, strict=True):
            one.note("publish", began)  # as far as the response itself can tell
        try:
            self._replies[reply_to].send([one.result.to_json() for one in group])
        except NotFound as error:
            # Its web process has gone. Whoever waits now reads the results in the bucket.
            log.debug("%d responses have no reader: %s", len(group), error)
        except Exception as error:
            self._give_back(held, error)
            return []
        for one, began in zip(held, stored, strict=True):
            one.note("publish", began)
        return held

    def _delete(self, held: Sequence[Delivery]) -> None:
        if not held:
            return
        try:
            self._cloud.requests.delete([one.message.receipt for one in held])
        except Exception as error:
            self._give_back(held, error)
            return
        self._let_go(held)
