"""Deletes batches that are older than the operator keeps them. A batch's id begins with the time when it was made."""

from __future__ import annotations

from itertools import islice

from shoal.buckets.deleted_batches import FOLDERS_BY_BATCH, OWNED, RUNS
from shoal.messages import batch_floor, is_batch
from shoal.ports import ObjectStore

DAY_SECONDS = 24 * 3600.0
MOST = 5_000  # objects deleted in one go: others wait for the sweeper, too


def remove_old(inputs: ObjectStore, outputs: ObjectStore, now: float, keep_days: float) -> int:
    """Delete what is kept of batches that were made more than `keep_days` ago. Returns how many objects it deleted.

    now: seconds since 1970. If it returns MOST there may be more. Objects that are not of a batch stay. May raise
    Retryable.
    """
    floor = batch_floor(now - keep_days * DAY_SECONDS)
    places = [(outputs, f"{folder}/") for folder in FOLDERS_BY_BATCH] + [(outputs, ""), (inputs, ""), (inputs, RUNS)]
    deleted = 0
    for store, folder in places:
        old = []
        for one in store.list(folder):
            batch = one.key.removeprefix(folder).partition("/")[0]
            if batch >= floor:
                break  # a listing is sorted
            if is_batch(batch):
                old.append(one.key)
            if len(old) >= MOST - deleted:
                break
        for key in islice(old, MOST - deleted):
            store.delete(key)
        deleted += len(old)
    return deleted + _remove_from_lists(outputs, floor, MOST - deleted)


def _remove_from_lists(outputs: ObjectStore, floor: str, most: int) -> int:
    """Take old batches from the lists of their owners. These are sorted by owner first, so all are looked at."""
    listed = (one.key for one in outputs.list(OWNED))
    old = list(islice((key for key in listed if is_batch(batch := key.rpartition("/")[2]) and batch < floor), most))
    for key in old:
        outputs.delete(key)
    return len(old)
