"""The places where a model can run, one file each: the Venue and its Submission, which the files here fulfil."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shoal.messages import Job


class Submission(Protocol):
    """The photos of one request on their way in. Both methods may raise Retryable; many threads may call `submit`."""

    def submit(self, job: Job, payload: bytes) -> None:
        """Hand over one photo. It may be held back until `flush`."""

    def flush(self) -> None:
        """Hand over what was held back. Only after this is every submitted photo sure to be labelled."""


class Venue(Protocol):
    """A place where photos are labelled. Its results arrive in the output bucket and, as a hint, at the collector."""

    def open(self) -> Submission:
        """Begin a submission."""

    def again(self, jobs: Sequence[Job]) -> None:
        """Label photos that were submitted before once more. May raise Retryable."""
