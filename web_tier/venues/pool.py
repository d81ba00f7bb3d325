"""The venue `pool`: photos go to the input bucket, request messages to the queue, and worker instances label them."""

from __future__ import annotations

import mimetypes
import threading
import time
from collections.abc import Callable, Sequence

from shoal import traces
from shoal.messages import UPLOAD, Job
from shoal.ports import JobQueue, ObjectStore
from shoal.state_folder.arrivals import tell_queued
from web_tier.problems import Problem
from web_tier.venues import ANYBODY, Asker, Venue, VenueParts
from web_tier.venues._outbox import CALL_MESSAGES, Outbox
from web_tier.venues._store_turns import StoreTurns

LONGEST_WAIT_SECONDS = 3.0  # of the oldest photo of a client, to be stored; until then a burst only waits
AGAIN_SECONDS = 5
BUSY = "More photos come than can be stored at the moment. Please send this one again in a few seconds."


def make(parts: VenueParts) -> Venue:
    """Make the venue of this file."""
    return of_cloud(parts)


def of_cloud(parts: VenueParts) -> PoolVenue:
    """The pool on the buckets and the queue of these parts."""
    return PoolVenue(
        parts.cloud.inputs, parts.cloud.requests, lambda: tell_queued(parts.settings.state_dir), parts.turns
    )


class PoolVenue:
    """Stores photos and queues request messages for the workers of the pool.

    queued: called after each call to the queue. turns: those of photos and answers at the store.
    """

    stores = True
    per_second = None

    def __init__(
        self,
        inputs: ObjectStore,
        requests: JobQueue,
        queued: Callable[[], None] = lambda: None,
        turns: StoreTurns | None = None,
    ) -> None:
        self._inputs = inputs
        self._requests = requests
        self._queued = queued
        self._outbox = Outbox(requests, queued)
        self._turns = turns or StoreTurns()

    def open(self, asker: Asker = ANYBODY) -> PoolSubmission:
        """Begin a submission. Raises Problem (503) while photos of this client wait too long to be stored."""
        if refusal := self.full(asker.address):
            raise refusal
        return PoolSubmission(self._inputs, self._outbox, self._turns, asker.address)

    def full(self, address: str) -> Problem | None:
        """The answer while photos of this client wait too long to be stored, or any to be queued.

        The queue itself has places without end.
        """
        if max(self._turns.wait_seconds(address), self._outbox.wait_seconds) <= LONGEST_WAIT_SECONDS:
            return None
        return Problem(503, BUSY, AGAIN_SECONDS)

    def again(self, jobs: Sequence[Job]) -> None:
        """Queue photos again that are stored already. May raise Retryable."""
        self._requests.send([job.to_json() for job in jobs])
        self._queued()

    def stop(self) -> None:
        """Nothing runs in this process."""


class PoolSubmission:
    """The photos of one request. Each is stored at once; the messages go at the end, in calls of ten."""

    looked_at = True

    def __init__(self, inputs: ObjectStore, outbox: Outbox, turns: StoreTurns, client: str) -> None:
        self._inputs = inputs
        self._outbox = outbox
        self._turns = turns
        self._client = client
        self._unsent: list[tuple[Job, float, float]] = []
        self._lock = threading.Lock()

    def submit(self, job: Job, payload: bytes, content_type: str = "") -> None:
        """Store one photo; the type is that of its name, unless it is given. May raise Retryable."""
        began = time.perf_counter()
        content_type = content_type or mimetypes.guess_type(job.name)[0] or "application/octet-stream"
        with self._turns.turn(self._client):
            self._inputs.put(job.key, payload, content_type)
        with self._lock:
            self._unsent.append((job, began, time.perf_counter()))

    def flush(self) -> None:
        """Send the messages of all photos. May raise Retryable."""
        with self._lock:
            rest, self._unsent = self._unsent, []
        for start in range(0, len(rest), CALL_MESSAGES):
            self._send(rest[start : start + CALL_MESSAGES])

    def _send(self, stored: Sequence[tuple[Job, float, float]]) -> None:
        attributes = [
            {UPLOAD: f"{ended - began:.4f}"} | traces.begin({UPLOAD: (began, ended)}) for _, began, ended in stored
        ]
        self._outbox.send([job.to_json() for job, _, _ in stored], attributes)
