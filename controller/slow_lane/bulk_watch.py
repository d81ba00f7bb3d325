"""How many workers the bulk runs need: by their deadline, or so that each worker has enough to do."""

from __future__ import annotations

import logging
import math

from controller.policy import BulkNeed
from runs.records import RunRecords, state_of
from runs.run import SHARD_SECONDS
from shoal.errors import NotFound, ShoalError
from shoal.logs import WarnOnce
from shoal.ports import Cloud, Depth

log = logging.getLogger(__name__)

WORK_SECONDS = 600.0  # for each worker, where no run has a deadline: less is not worth a boot
LEAST_SECONDS = 60.0  # a deadline that is near or past starts no machine for less
LOOK_SECONDS = 30.0  # between two looks at the deadlines
OLDEST_SECONDS = 14 * 24 * 3600.0  # messages live no longer


def need_of(depth: Depth, seconds: float) -> BulkNeed:
    """The workers that do these shards in so many seconds; at least those that have one now, so that none is lost."""
    if not depth.total:
        return BulkNeed()
    wanted = math.ceil(depth.total * SHARD_SECONDS / max(seconds, LEAST_SECONDS))
    workers = min(depth.total, max(wanted, depth.in_flight))
    shards = f"{depth.total} {'shard' if depth.total == 1 else 'shards'}"
    return BulkNeed(workers, f"{workers} for {shards} of bulk runs, {depth.in_flight} of them in work")


class BulkWatch:
    """Looks at the bulk queue, and now and then at the deadlines of the open runs."""

    def __init__(self, cloud: Cloud) -> None:
        self._queue = cloud.bulk
        self._records = RunRecords(cloud.outputs)
        self._finished: set[str] = set()
        self._looked = float("-inf")
        self._deadline = 0.0
        self._last = BulkNeed()
        self._faults = WarnOnce(log)

    def need(self, now: float) -> BulkNeed:
        """What the runs need now. While it cannot be seen, the same as before."""
        try:
            depth = self._queue.depth()
            if depth.total and abs(now - self._looked) >= LOOK_SECONDS:
                self._looked, self._deadline = now, self._first_deadline(now)
            left = self._deadline - now if self._deadline else WORK_SECONDS
            self._last = need_of(depth, left)
            self._faults.clear()
        except NotFound:
            self._last = BulkNeed()  # `shoal prepare` of an older Shoal made no such queue
        except ShoalError as error:
            self._faults.warn("cannot see the bulk runs, so they need what they needed: %s", error)
        return self._last

    def _first_deadline(self, now: float) -> float:
        """The first deadline of the runs that are in work; 0 when none has one."""
        found = []
        for name in self._records.ids(now - OLDEST_SECONDS):
            if name in self._finished:
                continue
            state, _ = state_of(self._records, name)
            if state in ("done", "cancelled"):
                self._finished.add(name)
            elif state != "paused" and (deadline := self._records.run(name).deadline):
                found.append(deadline)
        return min(found, default=0.0)
