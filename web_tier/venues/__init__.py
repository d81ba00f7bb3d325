"""Venues: where a model can run. Each file here is one; this file has the protocols Venue and Submission."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shoal.messages import Job


class Submission(Protocol):
    """Submits the photos of one request. Both methods may raise Retryable. Many threads may call `submit`."""

    def submit(self, job: Job, payload: bytes) -> None:
        """Hand over one photo. The venue labels it after `flush`."""

    def flush(self) -> None:
        """Have the photos labelled. Without this call they are not."""


class Venue(Protocol):
    """Labels photos. The results arrive in the output bucket and, as a hint, at the collector."""

    def open(self) -> Submission:
        """Begin a submission."""

    def again(self, jobs: Sequence[Job]) -> None:
        """Label photos again that were submitted before. May raise Retryable."""
