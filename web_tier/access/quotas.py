"""How many photos one user may send in a day, and may have waiting for labels at the same time.

A day's count is a small record for each web process. So several processes need no lock, and each is at most five
seconds behind what the others accepted. What waits is counted in the buckets: photos without results in the batches of
a day.
"""

from __future__ import annotations

import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from shoal.accounts import records
from shoal.accounts.owned_batches import OwnedBatches
from shoal.buckets.passing_records import COUNTS
from shoal.errors import Retryable
from shoal.messages import batch_floor
from shoal.ports import Clock, ObjectStore
from web_tier.access.person import Person
from web_tier.access.recently import Recently
from web_tier.access.rights import Right
from web_tier.problems import Problem
from web_tier.words import photos

DAY_SECONDS = 24 * 3600
SETTLED_SECONDS = 3600.0  # a batch that is older and has nothing waiting is not looked at again
WAITING_SECONDS = 1.0  # how long a count of what waits is remembered
TRY_AGAIN_SECONDS = 5
MOST_SETTLED = 100_000  # then all are looked at once more

TakeOne = Callable[[], None]
"""Count one more photo of the request. Raises Problem (429) when it is one too many."""


class Quotas:
    """The quotas of all users. Safe for many threads; every method may raise Retryable.

    a_day, waiting: photos; 0 for no limit. queued: how many photos of a batch wait for labels.
    """

    def __init__(
        self, a_day: int, waiting: int, outputs: ObjectStore, clock: Clock, queued: Callable[[str], int]
    ) -> None:
        self._a_day = a_day
        self._most_waiting = waiting
        self._outputs = outputs
        self._clock = clock
        self._queued = queued
        self._process = secrets.token_hex(6)
        self._counted: Counter[str] = Counter()  # <day>/<owner> -> photos that this process accepted
        self._taking: Counter[str] = Counter()  # owner -> photos of requests that are under way
        self._lock = threading.Lock()
        self._others = Recently(self._count_others)
        self._waiting = Recently(self._count_waiting, WAITING_SECONDS)
        self._owned = OwnedBatches(outputs)
        self._settled: set[str] = set()

    def hold_for(self, who: Person | None) -> bool:
        """Whether anything limits this person. Operators have no quota."""
        return who is not None and not who.may(Right.OPERATE) and bool(self._a_day or self._most_waiting)

    @contextmanager
    def request(self, who: Person | None, labelled: Callable[[], int] = lambda: 0) -> Iterator[TakeOne]:
        """Count the photos of one request. Operators have no quota.

        labelled: how many were labelled already. Of a request that fails only those count.
        """
        if who is None or not self.hold_for(who):
            yield lambda: None
            return
        day = f"{datetime.fromtimestamp(self._clock.now(), UTC):%Y-%m-%d}/{who.owner}"
        free = self._most_waiting - self._waiting(who.owner) if self._most_waiting else None
        left = self._a_day - self._others(day) if self._a_day else None
        taken = 0

        def one() -> None:
            nonlocal taken
            with self._lock:
                if left is not None and self._counted[day] >= left:
                    raise self._too_many_today(left - self._counted[day] + taken)
                if free is not None and self._taking[who.owner] >= free:
                    raise self._too_many_waiting(free - self._taking[who.owner] + taken)
                self._counted[day] += 1
                self._taking[who.owner] += 1
                taken += 1

        counting = 0
        try:
            yield one
            counting = taken
        except BaseException:
            counting = labelled()
            raise
        finally:
            with self._lock:
                self._counted[day] -= taken - counting
                self._taking[who.owner] -= taken
                self._taking += Counter()  # drops what is zero
            self._waiting.forget(who.owner)
            if self._a_day and counting:
                self._keep(day)

    def _too_many_today(self, left: int) -> Problem:
        text = f"You may send {photos(self._a_day)} a day. {_left(left)} until midnight UTC"
        return Problem(429, _with_rest(text, left), retry_after=int(DAY_SECONDS - self._clock.now() % DAY_SECONDS) + 1)

    def _too_many_waiting(self, left: int) -> Problem:
        text = f"You may have {photos(self._most_waiting)} waiting for labels. There is room for {max(left, 0):,} now"
        return Problem(429, _with_rest(text, left), retry_after=TRY_AGAIN_SECONDS)

    def _keep(self, day: str) -> None:
        try:
            with self._lock:
                count = self._counted[day]
                self._counted = Counter({one: number for one, number in self._counted.items() if one[:10] >= day[:10]})
            records.write(self._outputs, f"{COUNTS}/{day}/{self._process}", {"count": count})
        except Retryable:  # the photos are accepted; the next request writes it
            return

    def _count_others(self, day: str) -> int:
        """What other processes, and this machine's before this one, accepted of an owner on a day."""
        own, total = f"{COUNTS}/{day}/{self._process}", 0
        for one in self._outputs.list(f"{COUNTS}/{day}/"):
            count = (records.read(self._outputs, one.key) or {}).get("count") if one.key != own else 0
            total += count if isinstance(count, int) else 0
        return total

    def _count_waiting(self, owner: str) -> int:
        now, total = self._clock.now(), 0
        if len(self._settled) > MOST_SETTLED:
            self._settled.clear()
        for batch in reversed(self._owned.of(owner)):
            if batch < batch_floor(now - DAY_SECONDS):
                break
            if batch in self._settled:
                continue
            queued = self._queued(batch)
            total += queued
            if not queued and batch < batch_floor(now - SETTLED_SECONDS):
                self._settled.add(batch)
        return total


def _left(count: int) -> str:
    return f"{photos(max(count, 0))} {'is' if count == 1 else 'are'} left"


def _with_rest(text: str, left: int) -> str:
    rest = ", and this request has more." if left > 0 else "."
    return text + rest
