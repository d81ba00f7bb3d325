"""Deleted batches: a tombstone for each, so that nobody writes what is deleted once more.

A tombstone is an object in the output bucket, `deleted/<batch>`. The web tier writes it before it deletes. Workers and
web processes that have a photo or a result of the batch drop it when they see the tombstone. Between two looks one may
still write an object, so the controller's sweeper deletes once more what is there, while the tombstone is young. The
tombstone goes when no message can name the batch any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor

from shoal.errors import Retryable, ShoalError
from shoal.messages import is_batch, is_job_key
from shoal.ports import ObjectStore

FOLDER = "deleted"
FOLDERS_BY_BATCH = (
    "accounts/owners",
    "accounts/shares",
    "buried",
    "corrections",
    "failures",
    "pending",
    "runs",
    "suspects",
    "webhooks",
)
"""What else is kept of a batch, or of a bulk run, in the output bucket: `<folder>/<batch>/...`."""
RUNS = "runs/"
"""Where bulk runs are, in both buckets."""
OWNED = "accounts/batches/"
"""The lists of owners, `accounts/batches/<owner>/<batch>`: the web tier, which knows the owner, deletes there."""

LOOK_SECONDS = 5.0  # between two looks for new tombstones
LATE_SECONDS = 900.0  # longer than a worker holds a photo: after this nobody writes an object of the batch
KEPT_SECONDS = 15 * 24 * 3600.0  # a day longer than a queue keeps a message


def mark(outputs: ObjectStore, batch: str) -> None:
    """Write the tombstone. May raise Retryable."""
    outputs.put(f"{FOLDER}/{batch}", b"{}", "application/json")


def purge(inputs: ObjectStore, outputs: ObjectStore, batch: str, workers: Executor | None = None) -> int:
    """Delete all that the buckets have of a batch, but its tombstone. Returns how many photos it had.

    workers: threads to delete several objects at a time. May raise Retryable; a second call deletes the rest.
    """
    photos = [one.key for one in inputs.list(f"{batch}/")]
    kept = [one.key for one in outputs.list(f"{batch}/")]
    for folder in FOLDERS_BY_BATCH:
        kept += [one.key for one in outputs.list(f"{folder}/{batch}/")]
    names = {key for key in (*photos, *kept) if is_job_key(key)}
    # The photos last: as long as one is there, a purge that was cut off can find what else belongs to them.
    _delete_all(outputs, kept, workers)
    _delete_all(inputs, photos, workers)
    return len(names)


def sweep(inputs: ObjectStore, outputs: ObjectStore, now: float) -> int:
    """Delete what was written after a purge, and old tombstones. Returns how many photos it found. May raise Retryable.

    now: seconds since 1970, by the store's clock.
    """
    found = 0
    for tombstone in list(outputs.list(f"{FOLDER}/")):
        age, batch = now - tombstone.modified_at, tombstone.key.removeprefix(f"{FOLDER}/")
        if is_batch(batch) and (age < LATE_SECONDS or age > KEPT_SECONDS):
            found += purge(inputs, outputs, batch)
        if age > KEPT_SECONDS:
            outputs.delete(tombstone.key)
    return found


def _delete_all(store: ObjectStore, keys: list[str], workers: Executor | None) -> None:
    if workers is None:
        for key in keys:
            store.delete(key)
        return
    try:
        list(workers.map(store.delete, keys))
    except RuntimeError:
        raise Retryable("this program is stopping") from None


class DeletedBatches:
    """The batches with a tombstone, as this process knows them. Safe for many threads.

    A tombstone of another process is known LOOK_SECONDS later at most, if somebody asks.
    """

    def __init__(self, outputs: ObjectStore, steady: Callable[[], float] = time.monotonic) -> None:
        self._outputs = outputs
        self._steady = steady
        self._known: frozenset[str] = frozenset()
        self._own: set[str] = set()
        self._looked_at = float("-inf")
        self._looking = threading.Lock()

    def __contains__(self, batch: object) -> bool:
        self.look(LOOK_SECONDS)
        return batch in self._known or batch in self._own

    def add(self, batch: str) -> None:
        """This process deletes a batch. May raise Retryable; it is known here in any case."""
        self._own.add(batch)
        mark(self._outputs, batch)

    @property
    def known(self) -> frozenset[str]:
        """Those that the last look found."""
        return self._known

    def look(self, seconds: float) -> None:
        """List the tombstones if the last look is `seconds` ago.

        When the store does not answer, what was known stays, and a later call looks again.
        """
        if self._steady() - self._looked_at < seconds or not self._looking.acquire(blocking=False):
            return
        try:
            self._known = frozenset(one.key.removeprefix(f"{FOLDER}/") for one in self._outputs.list(f"{FOLDER}/"))
            self._looked_at = self._steady()
        except ShoalError:
            self._looked_at = self._steady() - seconds + min(seconds, 1.0)  # not at each photo while the store is away
        finally:
            self._looking.release()
