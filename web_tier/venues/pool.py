"""The venue that is a pool of worker instances: photos in the input bucket, request messages in the queue."""

from __future__ import annotations

import mimetypes
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from shoal import traces
from shoal.messages import UPLOAD, Job
from shoal.ports import Cloud, JobQueue, ObjectStore
from web_tier.venues import Submission, Venue

CALL_MESSAGES = 10  # what SQS takes in one call
CALLS_AT_ONCE = 1  # two would halve what gathers; ten messages in ten milliseconds are more than any intake


def make(cloud: Cloud) -> Venue:
    """The venue of this file."""
    return PoolVenue(cloud.inputs, cloud.requests)


class PoolVenue:
    """Puts photos and request messages where the pool's workers find them."""

    def __init__(self, inputs: ObjectStore, requests: JobQueue) -> None:
        self._inputs = inputs
        self._requests = requests
        self._outbox = Outbox(requests)

    def open(self) -> Submission:
        """Begin a submission."""
        return PoolSubmission(self._inputs, self._outbox)

    def again(self, jobs: Sequence[Job]) -> None:
        """Send the request messages of stored photos once more. May raise Retryable."""
        self._requests.send([job.to_json() for job in jobs])


class PoolSubmission:
    """One request's photos: each is stored at once, the messages go ten a call."""

    def __init__(self, inputs: ObjectStore, outbox: Outbox) -> None:
        self._inputs = inputs
        self._outbox = outbox
        self._held: list[tuple[Job, float]] = []
        self._lock = threading.Lock()

    def submit(self, job: Job, payload: bytes) -> None:
        """Store one photo, then queue its message. May raise Retryable."""
        began = time.perf_counter()
        content_type = mimetypes.guess_type(job.name)[0] or "application/octet-stream"
        self._inputs.put(job.key, payload, content_type)
        with self._lock:
            self._held.append((job, began))
            if len(self._held) < CALL_MESSAGES:
                return
            full, self._held = self._held, []
        self._send(full)

    def flush(self) -> None:
        """Send the messages that are held back. May raise Retryable."""
        with self._lock:
            rest, self._held = self._held, []
        if rest:
            self._send(rest)

    def _send(self, held: Sequence[tuple[Job, float]]) -> None:
        now = time.perf_counter()
        attributes = [{UPLOAD: f"{now - began:.4f}"} | traces.begin({UPLOAD: (began, now)}) for _, began in held]
        self._outbox.send([job.to_json() for job, _ in held], attributes)


@dataclass
class Parcel:
    """The messages of one caller, up to a call's worth, and whether they are sent."""

    bodies: Sequence[str]
    attributes: Sequence[Mapping[str, str]]
    sent: Future[None] = field(default_factory=Future)


class Outbox:
    """While calls are under way, the messages of other requests gather, and the next call takes them together: under
    load ten photos of ten requests cost one call, and one that comes alone goes at once. Safe for many threads."""

    def __init__(self, requests: JobQueue) -> None:
        self._requests = requests
        self._waiting: deque[Parcel] = deque()
        self._changing = threading.Lock()
        self._calls = threading.BoundedSemaphore(CALLS_AT_ONCE)

    def send(self, bodies: Sequence[str], attributes: Sequence[Mapping[str, str]]) -> None:
        """Send up to ten messages, and return when they are sent. Raises what JobQueue.send raises."""
        parcel = Parcel(bodies, attributes)
        with self._changing:
            self._waiting.append(parcel)
        with self._calls:
            # Another caller may have taken it along by now; if not, it is among the first that wait.
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
                [body for one in parcels for body in one.bodies], [own for one in parcels for own in one.attributes]
            )
        except BaseException as error:  # whatever it is, those who wait must hear of it
            for one in parcels:
                one.sent.set_exception(error)
        else:
            for one in parcels:
                one.sent.set_result(None)
