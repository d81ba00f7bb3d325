"""The controllers' lease, on any store that holds one record and can compare and swap it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from shoal.errors import LeaseLost
from shoal.ports import Grant

FREE = ""


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The record of a lease.

    token:  the newest fencing token.
    holder: the id of the holder; FREE when nobody holds it.
    count:  grows with each change, so that two equal records mean that nothing happened in between.
    notes:  text from the last holder for the next.
    """

    token: int
    holder: str
    count: int
    notes: str = ""


class LeasePlace(Protocol):
    """The store of the record. Both methods may raise Retryable."""

    def read(self) -> LeaseRecord | None:
        """Return the newest record; None when there is none yet, or when the store was lost and created again."""

    def swap(self, old: LeaseRecord | None, new: LeaseRecord) -> bool:
        """Replace `old` by `new` in one step. Returns False, and changes nothing, when the record is not `old`."""


class RecordLease:
    """A Lease. Each process has its own object; all share the store.

    steady: returns seconds by a clock of this machine that is never set.
    now:    returns seconds since 1970; used only for the first token after the store was lost.
    """

    def __init__(self, place: LeasePlace, steady: Callable[[], float], now: Callable[[], float]) -> None:
        self._place = place
        self._steady = steady
        self._now = now
        self._seen: dict[str, tuple[LeaseRecord | None, float]] = {}  # by taker: the record, and since when
        self._newest = 0
        # What this process wrote last. While no other process writes, it need not be read.
        self._last: LeaseRecord | None = None

    def take(self, holder: str, seconds: float) -> Grant | None:
        last = self._last
        if last is not None and last.holder == holder and self._write(last, replace(last, count=last.count + 1)):
            return Grant(last.token, last.notes)
        old = self._place.read()
        if self._is_taken(old, holder) and not self._overdue(holder, old, seconds):
            return None
        new = self._next(old, holder)
        if not self._write(old, new):
            return None
        self._newest = new.token
        self._seen.pop(holder, None)
        return Grant(new.token, new.notes, seized=old is not None and old.holder not in (FREE, holder))

    def _write(self, old: LeaseRecord | None, new: LeaseRecord) -> bool:
        written = self._place.swap(old, new)
        self._last = new if written else None
        return written

    def _is_taken(self, record: LeaseRecord | None, taker: str) -> bool:
        if record is None:
            # The store was lost while another held the lease: the other may go on for a while.
            return taker in self._seen
        return record.holder not in (FREE, taker)

    def _overdue(self, taker: str, record: LeaseRecord | None, seconds: float) -> bool:
        seen, since = self._seen.get(taker, (None, None))
        if since is None or seen != record:
            since = self._steady()
            self._seen[taker] = (record, since)
        return self._steady() - since >= seconds

    def _next(self, old: LeaseRecord | None, holder: str) -> LeaseRecord:
        if old is None:
            # In milliseconds: larger than all tokens that were counted up from an earlier time.
            return LeaseRecord(max(self._newest + 1, int(self._now() * 1000)), holder, 0)
        token = old.token if old.holder == holder else old.token + 1
        return LeaseRecord(token, holder, old.count + 1, old.notes)

    def note(self, token: int, notes: str) -> None:
        old = self._last if self._last is not None and self._last.token == token else None
        # Repeat until it is written or the token is old. Only a renewal changes the record of a lease that is held.
        while old is None or old.holder == FREE or not self._write(old, replace(old, count=old.count + 1, notes=notes)):
            old = self._place.read()
            if old is None or old.token != token or old.holder == FREE:
                raise LeaseLost(f"the lease with token {token} is no longer held: another controller acts")

    def release(self, holder: str) -> None:
        old = self._place.read()
        if old is not None and old.holder == holder:
            self._write(old, replace(old, holder=FREE, count=old.count + 1))
