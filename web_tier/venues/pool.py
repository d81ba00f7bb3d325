"""The venue that is a pool of worker instances: photos in the input bucket, request messages in the queue."""

from __future__ import annotations

import mimetypes
import threading
import time
from collections.abc import Sequence

from shoal import traces
from shoal.messages import UPLOAD, Job
from shoal.ports import Cloud, JobQueue, ObjectStore
from web_tier.intake.outbox import CALL_MESSAGES, Outbox
from web_tier.venues import Submission, Venue


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
