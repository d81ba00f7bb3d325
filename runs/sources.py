"""Where the photos of a run come from: a stream that can begin anywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from itertools import islice
from typing import Protocol

from runs.manifest import BulkPhoto
from runs.run import Run
from shoal.ports import Bucket


class PhotoSource(Protocol):
    """Photos in an order of its own, each once, each with a cursor: a text from which the stream can go on."""

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """The photos after the one with the cursor `after`, from the first if it is "". Nothing may hold all of them.

        May raise Retryable.
        """


class BucketSource:
    """The objects of a bucket below a prefix, by their keys, which are the cursors."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = prefix

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `PhotoSource`."""
        for one in self._bucket.list(self._prefix, after):
            yield one.key, BulkPhoto(one.key, one.etag, one.size)


class FailedSource:
    """The photos of another run that failed. Cursors count them."""

    def __init__(self, failed: Callable[[], Iterator[BulkPhoto]]) -> None:
        self._failed = failed

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `PhotoSource`."""
        first = int(after) if after else 0
        for number, photo in enumerate(islice(self._failed(), first, None), first + 1):
            yield str(number), photo


def is_photo_of(run: Run) -> Callable[[BulkPhoto], bool]:
    """Whether an object is one that the run labels: its file name fits the pattern, in small or capital letters."""
    fits = re.compile(translate(run.where), re.IGNORECASE).match if run.where else None

    def chosen(entry: BulkPhoto) -> bool:
        if entry.fault:
            return True  # nobody knows its name: it is told
        if entry.key.endswith("/") and not entry.size:
            return False  # the mark of a folder
        return fits is None or fits(entry.key.rpartition("/")[2]) is not None or fits(entry.key) is not None

    return chosen
