"""The venue `pool`: photos go to the input bucket, request messages to the queue, and worker instances label them."""

from __future__ import annotations

import mimetypes
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shoal import traces
from shoal.messages import UPLOAD, Job
from shoal.ports import JobQueue, ObjectStore
from shoal.state_folder.arrivals import tell_queued
from web_tier.venues import ANYBODY, Asker, Venue, VenueParts

CALL_MESSAGES = 10  # what SQS takes in one call
CALLS_AT_ONCE = 1  # two calls would carry half as many messages each; one call is fast enough for any intake


def make(parts: VenueParts) -> Venue:
    """Make the venue of this file."""
    return of_cloud(parts)


def of_cloud(parts: VenueParts) -> PoolVenue:
    """The pool on the buckets and the queue of these parts."""
    return PoolVenue(parts.cloud.inputs, parts.cloud.requests, lambda: tell_queued(parts.settings.state_dir))


class PoolVenue:
    """Stores photos and queues request messages for the workers of the pool. queued: called after each call to it."""

    stores = True
    per_second = None

    def __init__(self, inputs: ObjectStore, requests: JobQueue, queued: Callable[[], None] = lambda: None) -> None:
        self._inputs = inputs
        self._requests = requests
        self._queued = queued
        self._outbox = Outbox(requests, queued)

    def open(self, asker: Asker = ANYBODY) -> PoolSubmission:  # noqa: ARG002 - the workers do not tell clients apart
        """Begin a submission."""
        return PoolSubmission(self._inputs, self._outbox)

    def full(self, address: str) -> None:
        """The queue has places without end."""

    def again(self, jobs: Sequence[Job]) -> None:
        """Queue photos again that are stored already. May raise Retryable."""
        self._requests.send([job.to_json() for job in jobs])
        self._queued()

    def stop(self) -> None:
        """Nothing runs in this process."""


class PoolSubmission:
    """The photos of one request. Each is stored at once; the messages go at the end, in calls of ten."""

    looked_at = True

    def __init__(self, inputs: ObjectStore, outbox: Outbox) -> None:
        self._inputs = inputs
        self._outbox = outbox
        self._unsent: list[tuple[Job, float, float]] = []
        self._lock = threading.Lock()

    def submit(self, job: Job, payload: bytes, content_type: str = "") -> None:
        """Store one photo; the type is that of its name, unless it is given. May raise Retryable."""
        began = time.perf_counter()
        content_type = content_type or mimetypes.guess_type(job.name)[0] or "application/octet-stream"
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


@dataclass
class Parcel:
    """The messages of one caller, at most ten. sent: done when they are in the queue."""

    bodies: Sequence[str]
    attributes: Sequence[Mapping[str, str]]
    sent: Future[None] = field(default_factory=Future)


class Outbox:
    """Sends the messages of many requests in one call. Safe for many threads.

    A single message goes at once. During a call the messages of other requests gather, and the next call takes them
    all: under load ten photos of ten requests cost one call.
    """

    def __init__(self, requests: JobQueue, queued: Callable[[], None]) -> None:
        self._requests = requests
        self._queued = queued
        self._waiting: deque[Parcel] = deque()
        self._changing = threading.Lock()
        self._calls = threading.BoundedSemaphore(CALLS_AT_ONCE)

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]]) -> None:
        """Send up to ten messages, and return when they are sent. Raises what JobQueue.send raises."""
        parcel = Parcel(bodies, attributes)
        with self._changing:
            self._waiting.append(parcel)
        with self._calls:
            # Another caller may have sent this parcel by now; if not, it is among the first in the queue.
            while not parcel.sent.done() and (some := self._take()):
                self._call(some)
        parcel.sent.result()

    def _take(self) -> list[Parcel]:
        """The parcels of the next call."""
        taken: list[Parcel] = []
        size = 0
        with self._changing:
            while self._waiting and size + len(self._waiting[0].bodies) <= CALL_MESSAGES:
                taken.append(self._waiting.popleft())
                size += len(taken[-1].bodies)
        return taken

    def _call(self, parcels: Sequence[Parcel]) -> None:
        try:
            self._requests.send(
                [body for parcel in parcels for body in parcel.bodies],
                [own for parcel in parcels for own in parcel.attributes],
            )
        except BaseException as error:  # every caller that waits must get it
            for parcel in parcels:
                parcel.sent.set_exception(error)
        else:
            self._queued()
            for parcel in parcels:
                parcel.sent.set_result(None)
