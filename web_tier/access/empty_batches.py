"""How many batches without a photo one user may begin: each leaves a record of whose it is."""

from __future__ import annotations

import threading
from collections import OrderedDict

from shoal.ports import Clock
from web_tier.problems import Problem

MOST = 1_000  # of one user at a time
FORGOTTEN_SECONDS = 3600.0  # then a batch without a photo counts no longer
MOST_KNOWN = 200_000  # of all users together


class EmptyBatches:
    """The batches that were begun in this process and have no photo yet. Safe for many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._owners: dict[str, OrderedDict[str, float]] = {}  # owner -> batch -> when it was begun, the oldest first
        self._owner_of: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, batch: str, owner: str) -> None:
        """A batch without photos is begun. Raises Problem (429) when it is one too many."""
        with self._lock:
            if batch in self._owner_of:
                return
            own = self._owners.setdefault(owner, OrderedDict())
            now = self._clock.now()
            while own and now - next(iter(own.values())) > FORGOTTEN_SECONDS:
                self._forget(next(iter(own)))
            if len(own) >= MOST:
                wait = FORGOTTEN_SECONDS - (now - next(iter(own.values())))
                text = f"You have begun {MOST:,} batches that have no photo. Send photos to one of them."
                raise Problem(429, text, retry_after=int(wait) + 1)
            if len(self._owner_of) >= MOST_KNOWN:
                self._forget(next(iter(self._owner_of)))
            self._owners.setdefault(owner, own)[batch] = now
            self._owner_of[batch] = owner

    def filled(self, batch: str) -> None:
        """Photos of this batch have come."""
        with self._lock:
            self._forget(batch)

    def _forget(self, batch: str) -> None:
        owner = self._owner_of.pop(batch, None)
        if owner is None:
            return
        self._owners[owner].pop(batch, None)
        if not self._owners[owner]:
            del self._owners[owner]
