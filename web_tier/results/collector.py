"""Takes response messages from a queue in one thread and passes their results to the hub."""

from __future__ import annotations

import logging
import threading
from collections.abc import Container
from typing import Protocol

from shoal.errors import MalformedMessage
from shoal.messages import Job, Result
from shoal.ports import Received
from web_tier.results.hub import Hub

log = logging.getLogger(__name__)

RECEIVE_MESSAGES = 10
RECEIVE_SECONDS = 10.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 10.0
SHOWN = 300  # characters of a message that is not ours


class Responses(Protocol):
    """The part of JobQueue that a Collector needs."""

    def receive(self, max_messages: int, wait_seconds: float) -> list[Received]:
        """Up to ten messages, waiting up to `wait_seconds` for the first."""

    def delete(self, receipts: list[str]) -> None:
        """Remove messages for good."""


class Collector:
    """Long-polls a response queue until it is stopped. A lost response does no harm: the bucket has the result.

    Results of `deleted` batches are dropped.
    A message that ends this process before it is deleted moves to the dead-letter queue after some deliveries.
    """

    def __init__(self, responses: Responses, hub: Hub, deleted: Container[str] = ()) -> None:
        self._responses = responses
        self._deleted = deleted
        self._hub = hub
        self._stop = threading.Event()
        # A daemon: a long poll cannot be interrupted, and the messages it took become visible again by themselves.
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end, which it does after its current long poll."""
        self._stop.set()

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS  # not tenacity: this loop never ends, and an answer starts the pauses again
        while not self._stop.is_set():
            try:
                self.collect(RECEIVE_SECONDS)
                pause = FIRST_PAUSE_SECONDS
            except Exception as error:
                # Pages depend on this thread, so no error ends it: log once, wait, try again.
                if pause == FIRST_PAUSE_SECONDS and not self._stop.is_set():
                    log.warning("cannot read the response queue, will go on trying: %s", error)
                self._stop.wait(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)

    def collect(self, wait_seconds: float) -> int:
        """Poll once, publish the results, delete the messages. Returns their number. May raise Retryable."""
        received = self._responses.receive(RECEIVE_MESSAGES, wait_seconds)
        if received:
            for message in received:
                self._publish(message)
            self._responses.delete([message.receipt for message in received])
        return len(received)

    def _publish(self, message: Received) -> None:
        """Publish what the message says. One that cannot be published is dropped: it would come back for ever."""
        try:
            result = Result.from_json(message.body)
            if Job.from_key(result.key, "").batch not in self._deleted:
                self._hub.publish([result])
        except MalformedMessage as error:
            log.warning("dropped a response message: %s; it was: %s", error, ascii(message.body[:SHOWN]))
        except Exception:
            log.exception("dropped a response message: to publish it broke; it was: %s", ascii(message.body[:SHOWN]))
