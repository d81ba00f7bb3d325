"""How the rate of the pool grows with its workers, as measured, and how many workers that makes sensible. Pure.

Workers may share something that limits them all: the cores of one machine, a bucket that is throttled, a gateway. Then
each photo takes longer with each worker, and a policy that sees only the service time launches more and more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from shoal.ledger import PoolRate

SETTLE_SECONDS = 3.0  # after a change of the number of workers: a beat tells of the two seconds before it
LEAST_SECONDS = 6.0  # of measuring, before a rate counts
LEAST_PHOTOS = 2  # for each worker, before a rate counts
SURE_SECONDS = 12.0  # of measuring, before a change of the rate is a change of the photos
LONGEST_SECONDS = 30.0  # of measuring, then the past counts for half
SAME_SHARE = 0.1  # numbers of workers that differ by less are the same
KEPT_RATES = 8
STEP = 1.5  # a trial multiplies the workers by this: a smaller change cannot be told from noise
LINEAR_SHARE = 0.8  # each worker does at least this share of what each of fewer workers did: nothing is shared
SLACK = 1.25  # some photos take longer than the mean
BEST_SHARE = 0.9  # a pool within 10 % of the best rate is as good as the best
RETRY_SECONDS = 300.0  # doubled by each retry that did not help
LONGEST_RETRY_SECONDS = 7200.0
RETRY_BACKLOG = 4  # times the backlog at which more workers did not help


@dataclass(frozen=True, slots=True)
class Bound:
    """The most workers that are sensible, and why, in words."""

    workers: int
    why: str


@dataclass(frozen=True, slots=True)
class Throughput:
    """The rates measured, and the measurement under way.

    alone_seconds: seconds of one worker's time for a photo, expected before it is measured.
    ceiling:       photos a second that all workers together are expected to do at most; 0 when no limit is known.
    since_ceiling: when the ceiling was learned (seconds since 1970).
    rates:         by the number of workers, ascending.
    retry_seconds: how long a pool is held before more workers are tried again.
    working:       workers that have photos in progress. since: when they became that many, or began to be busy.
    photos, busy:  photos finished, and seconds of all workers, since the measurement settled.
    """

    alone_seconds: float = 1.0
    ceiling: float = 0.0
    since_ceiling: float = 0.0
    rates: tuple[PoolRate, ...] = ()
    retry_seconds: float = RETRY_SECONDS
    working: int = 0
    since: float = 0.0
    photos: float = 0.0
    busy: float = 0.0

    def anew(self, now: float) -> Throughput:
        """Forget the measurements: the workers or the clock are others now."""
        return Throughput(self.alone(), self.ceiling, now)

    # measure

    def look(self, now: float, working: int, steady: bool, backlog: int, photos: int, busy: float) -> Throughput:
        """After one more look.

        working: workers that have photos in progress. steady: whether all of them have as much as they can do: photos
        wait that no worker has taken, and no worker leaves. photos, busy: photos finished since the last look, and the
        seconds of work that they took.
        """
        if not steady or not working or abs(working - self.working) > SAME_SHARE * self.working:
            return replace(self, working=working, since=now, photos=0.0, busy=0.0)
        if now - self.since <= SETTLE_SECONDS:
            return self
        after = replace(self, photos=self.photos + photos, busy=self.busy + busy)
        if after.busy < LEAST_SECONDS * working or after.photos < LEAST_PHOTOS * working:
            return after
        after = after._record(PoolRate(self.working, self.working * after.photos / after.busy, now, backlog))
        if after.busy > LONGEST_SECONDS * working:
            after = replace(after, photos=after.photos / 2, busy=after.busy / 2)
        return after

    def _record(self, rate: PoolRate) -> Throughput:
        """Keep a rate.

        If the same workers do more or less than a while ago, the photos have changed, and other numbers of workers
        would do more or less by the same factor. What was measured long ago may have had another reason.
        """
        old = next((one for one in self.rates if _same(one, rate)), None)
        factor = 1.0
        if old is not None and self._is_fresh(old, rate.at, rate.backlog):
            if self.busy >= SURE_SECONDS * self.working:
                factor = rate.per_second / old.per_second
            elif old.at < self.since:
                return self  # they were away for a moment: what was measured before is more certain
        others = [replace(one, per_second=one.per_second * factor) for one in self.rates if not _same(one, rate)]
        newest = sorted([*others, rate], key=lambda one: one.at)[-KEPT_RATES:]
        rates = tuple(sorted(newest, key=lambda one: one.workers))
        retry = self.retry_seconds
        if old is not None and rate.at - old.at >= retry and rate.workers >= step(_enough(rates).workers):
            retry = min(2 * retry, LONGEST_RETRY_SECONDS)
        return replace(self, rates=rates, retry_seconds=retry)

    def _is_fresh(self, rate: PoolRate, now: float, backlog: int) -> bool:
        """Whether nothing speaks for trying so many workers again."""
        return now - rate.at < self.retry_seconds and backlog < RETRY_BACKLOG * rate.backlog

    # what it means

    def alone(self) -> float:
        """Seconds of a worker's time for a photo when it shares nothing, as far as it is known."""
        if not self.rates:
            return self.alone_seconds
        fewest = self.rates[0]
        seconds = fewest.workers / fewest.per_second
        return seconds if fewest.workers == 1 else min(seconds, self.alone_seconds)

    def planned_seconds(self, measured: float) -> float:
        """The service time to plan with. measured: the service time under the present load, which rises with each
        worker that shares something, and must not ask for more of them."""
        if not self.rates:
            return measured
        enough = _enough(self.rates)
        return min(measured, SLACK * enough.workers / enough.per_second)

    @property
    def is_known(self) -> bool:
        """Whether the rate of so many workers, or of more, was measured."""
        return self.working <= 1 or any(self.working <= one.workers * (1 + SAME_SHARE) for one in self.rates)

    def bound(self, now: float, backlog: int) -> Bound | None:
        """The most workers that are expected to bring the finish nearer; None when nothing speaks against any number.

        A pool that does not grow in rate is held at the fewest workers that are within a tenth of the best rate. A
        pool that grows less than its workers grows by a trial at a time.
        """
        if not self.rates:
            return Bound(1, f"all together are expected to do {self.ceiling:.3g} photos/s") if self.ceiling else None
        enough = _enough(self.rates)
        more = [one for one in self.rates if one.workers >= step(enough.workers)]
        if more:
            return self._held(enough, max(more, key=lambda one: one.at), now, backlog)
        if self.ceiling:
            return self._below_the_ceiling(enough, now)
        return self._by_trials(enough)

    def _held(self, enough: PoolRate, more: PoolRate, now: float, backlog: int) -> Bound:
        did = f"{_words(more, self.working)}, {enough.workers} did {enough.per_second:.3g}"
        if self._is_fresh(more, now, backlog):
            return Bound(enough.workers, f"{did}: another would not help, something is shared")
        return Bound(step(enough.workers), f"{did}: trying again")

    def _below_the_ceiling(self, enough: PoolRate, now: float) -> Bound:
        did = f"{_words(enough, self.working)}, and all together are expected to do {self.ceiling:.3g}"
        if enough.per_second >= BEST_SHARE * self.ceiling and now - self.since_ceiling < self.retry_seconds:
            return Bound(enough.workers, f"{did}: another would not help")
        return Bound(step(self.rates[-1].workers), f"{did}: trying more step by step")

    def _by_trials(self, enough: PoolRate) -> Bound | None:
        fewer = [one for one in self.rates if step(one.workers) <= enough.workers]
        each = fewer[-1].per_second / fewer[-1].workers if fewer else 1 / self.alone()
        if enough.per_second >= LINEAR_SHARE * each * enough.workers:
            return None
        did = f"{_words(enough, self.working)}, {each * enough.workers:.3g} if they shared nothing"
        return Bound(step(enough.workers), f"{did}: trying more step by step")


def step(workers: int) -> int:
    """The number of workers of the next trial: half as many again."""
    return math.ceil(workers * STEP)


def _enough(rates: tuple[PoolRate, ...]) -> PoolRate:
    """The rate of the fewest workers that are nearly as fast as the best."""
    best = max(one.per_second for one in rates)
    return next(one for one in rates if one.per_second >= BEST_SHARE * best)


def _same(one: PoolRate, other: PoolRate) -> bool:
    return abs(one.workers - other.workers) <= SAME_SHARE * min(one.workers, other.workers)


def _words(rate: PoolRate, working: int) -> str:
    verb = "did" if rate.workers != working else "does" if working == 1 else "do"
    return f"{rate.workers} worker{'s' * (rate.workers > 1)} {verb} {rate.per_second:.3g} photos/s"
