"""The venue `split`: the device ran the head of a model, and a worker of the pool runs its tail.

What comes is a packed activation. It is stored in the place of a photo, and the request message names it. Nothing in
the cloud ever holds the photo. What is no activation for the tail that is asked for gets its failed result here.
"""

from __future__ import annotations

from collections.abc import Sequence

from inference.split import header
from inference.split.header import BadActivation
from inference.split.point import parts_of
from shoal.messages import Job, Result
from web_tier.problems import Problem
from web_tier.venues import ANYBODY, Asker, Submission, Venue, VenueParts
from web_tier.venues.pool import PoolSubmission, PoolVenue, of_cloud

NO_TAIL = "the venue split takes activations: name a tail as the model, as `shoal classify --venue split` does"


def make(parts: VenueParts) -> Venue:
    """Make the venue of this file."""
    return SplitVenue(parts, of_cloud(parts))


class SplitVenue:
    """Stores activations, and queues request messages for the workers of the pool."""

    stores = True
    per_second = None

    def __init__(self, parts: VenueParts, pool: PoolVenue) -> None:
        self._parts = parts
        self._pool = pool

    def open(self, asker: Asker = ANYBODY) -> Submission:
        """Begin a submission. Raises Problem (503) as the pool does."""
        return SplitSubmission(self._parts, self._pool.open(asker))

    def full(self, address: str) -> Problem | None:
        """The answer while activations of this client wait too long to be stored."""
        return self._pool.full(address)

    def again(self, jobs: Sequence[Job]) -> None:
        """Queue activations again that are stored already. May raise Retryable."""
        self._pool.again(jobs)

    def stop(self) -> None:
        """Nothing runs in this process."""


class SplitSubmission:
    """The activations of one request. Only their headers are read here: a worker unpacks them."""

    looked_at = False

    def __init__(self, parts: VenueParts, pool: PoolSubmission) -> None:
        self._parts = parts
        self._pool = pool

    def submit(self, job: Job, payload: bytes) -> None:
        """Store one activation, or its failed result. May raise Retryable."""
        try:
            _check(job, payload)
        except BadActivation as error:
            result = Result.failed(job.key, str(error), bad_photo=True)
            self._parts.outputs.put(job.key, result.to_json().encode(), "application/json")
            self._parts.publish([result])
        else:
            self._pool.submit(job, payload, header.TYPE)

    def flush(self) -> None:
        """Send the messages of all activations. May raise Retryable."""
        self._pool.flush()


def _check(job: Job, payload: bytes) -> None:
    """Raise BadActivation unless the activation is for the tail that the job names."""
    found, _ = header.read(payload)
    if parts_of(job.model) != (found.model, found.cut):
        raise BadActivation(NO_TAIL if not parts_of(job.model) else f"the activation is not for the tail {job.model}")
