"""Venues: where a model can run. Each file here is one, unless its name begins with "_".

This file has the protocols Venue and Submission, and what a venue is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from shoal.buckets.written_behind import LateStore, WriteBehind
from shoal.messages import Job, Result
from shoal.ports import Cloud
from shoal.settings import Settings
from web_tier.problems import Problem
from web_tier.venues._store_turns import StoreTurns


def _stays() -> bool:
    return False


def _uncounted(_: Job) -> None:
    """Nobody counts what is labelled."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who sends photos.

    address:     the client's address; clients of different addresses are served in turn.
    left:        tells whether the client has closed the connection. Any thread may call it.
    keep_photos: whether the photos are kept beside their results, for the page of the batch.
    labelled:    called for each photo that a venue labels before it is accepted. Any thread may call it.
    """

    address: str = ""
    left: Callable[[], bool] = _stays
    keep_photos: bool = True
    labelled: Callable[[Job], None] = _uncounted


ANYBODY = Asker()


@dataclass(frozen=True, slots=True)
class VenueParts:
    """What a venue is made of.

    inputs, outputs: the buckets of `cloud`, as this process sees them, with `put_later`.
    behind:          writes what `put_later` was given.
    publish:         tells the pages and requests that wait of new results.
    turns:           who may store photos, while answers read the store.
    """

    settings: Settings
    cloud: Cloud
    inputs: LateStore
    outputs: LateStore
    behind: WriteBehind
    publish: Callable[[Iterable[Result]], None]
    turns: StoreTurns


class Submission(Protocol):
    """Submits the photos of one request. Both methods may raise Retryable. Many threads may call `submit`.

    looked_at: whether photos must have been looked at before they are submitted. Otherwise what is no photo gets its
               failed result from the venue, and nothing looks twice.
    """

    @property
    def looked_at(self) -> bool: ...

    def submit(self, job: Job, payload: bytes) -> None:
        """Hand over one photo. The venue labels it after `flush`, or before this call returns."""

    def flush(self) -> None:
        """Have the photos labelled. Without this call a venue that stores them first does not."""


class Venue(Protocol):
    """Labels photos. The results arrive in the output bucket and, as a hint, at the collector or the hub.

    stores:     whether it stores photos in the input bucket before it labels them.
    per_second: how many photos a second it labels; None when machines come and go with the work.
    """

    @property
    def stores(self) -> bool: ...
    @property
    def per_second(self) -> float | None: ...

    def open(self, asker: Asker = ANYBODY) -> Submission:
        """Begin a submission."""

    def full(self, address: str) -> Problem | None:
        """The answer to a photo of this client when there is no place for it now; else None. Must be quick."""

    def again(self, jobs: Sequence[Job]) -> None:
        """Label photos again that were submitted before. May raise Retryable."""

    def stop(self) -> None:
        """End the venue's threads. Photos that wait get an error that says to send them again."""


Told = Callable[[Result | Problem], None]
"""Gets what became of a photo."""


@runtime_checkable
class AnswersLater(Protocol):
    """A venue that labels a photo which is not kept without a thread of who asks."""

    def begin(self, job: Job, payload: bytes, asker: Asker, told: Told) -> None:
        """Begin to label a photo. told: gets the result or the problem, later and in another thread.

        Raises Retryable when the photo is not taken; then `told` is not called.
        """
