"""What the open pages of one batch share: one look at the buckets serves them all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet

from web_tier.results.listing import Listing
from web_tier.results.pace import Pace


class BucketWatch:
    """Lists the buckets for every open page of one batch. Safe for many threads.

    look: lists both buckets now; may raise Retryable.
    """

    def __init__(self, look: Callable[[], Listing]) -> None:
        self._list = look
        self._pace = Pace()
        self._last: Listing | None = None
        self._heard: set[str] = set()
        self._unheard: AbstractSet[str] = frozenset()  # new in the last listing, and no response had told of them
        self._looking = threading.Lock()

    def heard(self, keys: Iterable[str]) -> None:
        """Response messages told this process of the results of `keys`."""
        self._heard.update(keys)
        self._pace.heard()

    def latest(self) -> Listing | None:
        """The newest listing; lists the buckets first when that is due, unless another page is at it.

        Returns None before the first. May raise Retryable.
        """
        if self._pace.due and self._looking.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looking.release()
        return self._last

    def complete(self, keys: AbstractSet[str]) -> Listing:
        """A listing that has results for all `keys`, or a new one. May raise Retryable."""
        with self._looking:
            if self._last is not None and self._last.answered.keys() >= keys:
                return self._last
            return self._look()

    def reopened(self) -> None:
        """Photos are labelled once more: the last listing shows their old results."""
        self._last = None

    def _look(self) -> Listing:
        began, surprised = time.monotonic(), False
        try:
            found = self._list()
            surprised = self._compare(found)
            self._last = found
            return found
        finally:
            self._pace.looked(surprised, time.monotonic() - began)

    def _compare(self, found: Listing) -> bool:
        """Whether the buckets must be looked at often, because results come that no response tells of.

        A result is in the bucket a moment before its response is here. So where responses do come, a result only counts
        when its response is still missing at the next look.
        """
        before = self._last.answered.keys() if self._last else frozenset()
        late = self._unheard - self._heard
        self._unheard = found.answered.keys() - before - self._heard
        return bool(late) or (bool(self._unheard) and not self._heard)
