"""Marks on the photos of a request that is not accepted yet: the sweeper removes them instead of queueing them.

A mark is an object in the output bucket, `pending/<batch>/<index of the first photo>`, that names the index of the last
photo. The web tier writes it before it stores photos of a form whose end it has not read, and when it refuses a request
after it stored some photos. It deletes the mark when the request is accepted, before it queues the photos.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from shoal.errors import MalformedMessage, NotFound, Retryable, ShoalError
from shoal.messages import Job
from shoal.ports import ObjectStore, StoredObject
from shoal.safe_json import integer, read_object

FOLDER = "pending/"
ABANDONED_SECONDS = 900.0  # a mark that nobody renewed for this long belongs to a request that has ended
MOST_SECONDS = ABANDONED_SECONDS / 2  # the longest time without a renewal, by the web tier's clock


@dataclass(frozen=True, slots=True)
class Mark:
    """A stored mark. refused: the request has ended, so photos that were stored later belong to another request."""

    key: str
    batch: str
    first: int
    last: int
    refused: bool
    written_at: float

    def covers(self, photo: StoredObject) -> bool:
        """Whether the photo is pending. photo: an object whose key is that of a job."""
        if not photo.key.startswith(f"{self.batch}/") or (self.refused and photo.modified_at > self.written_at):
            return False
        return self.first <= Job.from_key(photo.key, "").index <= self.last

    def abandoned(self, now: float) -> bool:
        """Whether the request has ended without being accepted. now: seconds since 1970."""
        return self.written_at < now - ABANDONED_SECONDS


def read_marks(outputs: ObjectStore, listed: Iterable[StoredObject]) -> list[Mark]:
    """The marks among the `listed` objects of the output bucket. May raise Retryable."""
    return [mark for one in listed if one.key.startswith(FOLDER) and (mark := _read(outputs, one))]


def _read(outputs: ObjectStore, stored: StoredObject) -> Mark | None:
    batch, _, first = stored.key.removeprefix(FOLDER).partition("/")
    try:
        fields = read_object(outputs.get(stored.key))
        last, refused = integer(fields.get("last")), fields.get("refused") is True
        return Mark(stored.key, batch, int(first), last, refused, stored.modified_at)
    except (NotFound, MalformedMessage, TypeError, ValueError):
        return None


class PendingPhotos:
    """The mark of one request. Not for several threads.

    first: the index of its first photo.
    needs_mark: False for photos that are labelled before they are stored.
    """

    def __init__(self, outputs: ObjectStore, batch: str, first: int, needs_mark: bool = True) -> None:
        self._outputs = outputs
        self._needs_mark = needs_mark
        self._key = f"{FOLDER}{batch}/{first:05d}"
        self._written_at: float | None = None
        self.last_stored: int | None = None  # the index of the last photo that may be in the bucket

    def cover(self, last: int) -> None:
        """Mark the photos up to the index `last`, before they are stored. May raise Retryable."""
        if not self._needs_mark:
            return
        self._write(last, refused=False)
        self._written_at = time.monotonic()

    def refuse(self) -> None:
        """Mark what was stored of a request that is refused. A store that fails now does not raise."""
        if self._needs_mark and self.last_stored is not None:
            with suppress(ShoalError):
                self._write(self.last_stored, refused=True)

    def accept(self) -> None:
        """Remove the mark. Raises Retryable when that fails, and after a time in which the sweeper may have acted."""
        if self._written_at is None:
            return
        if time.monotonic() - self._written_at > MOST_SECONDS:
            raise Retryable("the photos of a request took too long to be stored")
        self._outputs.delete(self._key)

    def _write(self, last: int, refused: bool) -> None:
        body = json.dumps({"last": last, "refused": refused}).encode()
        self._outputs.put(self._key, body, "application/json")
