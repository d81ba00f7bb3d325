"""The last day of the pool, read from the controller's ledger: backlog, instances, finished photos and cost."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from shoal.ledger import Entry, machines_between
from shoal.ledger_file import Follower
from shoal.ports import Clock

DAY_SECONDS = 24 * 3600.0
SLACK_SECONDS = 5.0  # how late the ledger hears of a photo
LATE_SECONDS = 2 * SLACK_SECONDS  # so late it hears of all photos of a moment, those of other batches too


@dataclass(frozen=True, slots=True)
class Moment:
    """An entry of the ledger; its values hold until the next entry.

    at: seconds since 1970. machines: 0 after a controller has stopped. finished: photos finished since this history
    began, those of bulk runs included. answered: those of them that somebody wanted: not cancelled, not deleted.
    hindrance, no_launch: as in the ledger's entry.
    """

    at: float
    waiting: int
    in_flight: int
    machines: int
    running: int
    finished: int
    oldest_seconds: float
    service_seconds: float
    boot_seconds: float
    sentence: str
    hindrance: str = ""
    no_launch: str = ""
    answered: int = 0


class History:
    """Follows one ledger. Safe for many threads."""

    def __init__(self, ledger: Follower, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._moments: list[Moment] = []
        self._newest: Entry | None = None
        self._lock = threading.Lock()

    def is_settled(self, end: float) -> bool:
        """Whether the ledger has heard of all that was finished until `end` (seconds since 1970)."""
        return self._clock.now() > end + LATE_SECONDS

    def read(self) -> tuple[Moment, ...] | None:
        """The last day, oldest first; None when there is no readable ledger on this machine."""
        with self._lock:
            try:
                entries = self._ledger.news()
            except OSError:
                return None
            for entry in entries:
                if not entry.dry_run:
                    self._add(entry)
            self._forget(self._clock.now() - DAY_SECONDS)
            return tuple(self._moments)

    def _add(self, entry: Entry) -> None:
        if self._newest and self._moments:
            last, count = self._moments[-1], machines_between(self._newest, entry)
            self._moments[-1] = replace(last, machines=count, running=min(self._newest.pool.running, count))
        self._newest = entry
        machines = machines_between(entry, None)
        before = self._moments[-1] if self._moments else None
        self._moments.append(
            Moment(
                entry.at,
                entry.visible + entry.delayed,
                entry.in_flight,
                machines,
                min(entry.pool.running, machines),
                before.finished + entry.finished + entry.bulk_finished if before else 0,
                entry.oldest_seconds,
                entry.service_seconds,
                entry.boot_seconds,
                entry.sentence,
                entry.hindrance,
                entry.no_launch,
                before.answered + max(0, entry.finished - entry.dropped) + entry.bulk_finished if before else 0,
            )
        )

    def _forget(self, before: float) -> None:
        """Drop the moments that ended before then; the last of them still held then, and stays."""
        first = next((place for place, one in enumerate(self._moments) if one.at >= before), len(self._moments))
        del self._moments[: max(0, first - 1)]


def cost(moments: Sequence[Moment], now: float, price: float) -> float:
    """The cost of the instances from the first moment until `now`. price: of an instance for an hour."""
    ends = [*(one.at for one in moments[1:]), now]
    seconds = sum(one.machines * max(0.0, end - one.at) for one, end in zip(moments, ends, strict=True))
    return seconds / 3600 * price


def share(moments: Sequence[Moment], begin: float, end: float, photos: int, price: float) -> float | None:
    """The cost of the instances from `begin` to `end`, times the share of `photos` in what they finished then.

    Returns None when the moments do not reach back to `begin`, and when no instance ran: whatever labelled the photos
    then, it is not in the ledger. price: of an instance for an hour.
    """
    if not moments or moments[0].at > begin + SLACK_SECONDS:
        return None
    inside = [replace(_at(moments, begin), at=begin), *(one for one in moments if begin < one.at < end)]
    finished = _finished_by(moments, end) - _finished_by(moments, begin)
    return cost(inside, end, price) * photos / max(photos, finished) or None


def _finished_by(moments: Sequence[Moment], time: float) -> float:
    """Photos finished until then. Workers tell of them every few seconds, so between two moments they grow evenly."""
    place = bisect_right(moments, time, key=lambda one: one.at)
    before, after = moments[max(0, place - 1)], moments[min(place, len(moments) - 1)]
    if not 0 < after.at - before.at <= SLACK_SECONDS:
        return before.finished
    return before.finished + (after.finished - before.finished) * (time - before.at) / (after.at - before.at)


def done(moments: Sequence[Moment]) -> int:
    """The number of photos answered from the first moment to the last."""
    return moments[-1].answered - moments[0].answered if moments else 0


def rate(moments: Sequence[Moment], now: float, seconds: float) -> float:
    """Photos answered a second, over the last `seconds`."""
    if not moments:
        return 0.0
    return (moments[-1].answered - _at(moments, now - seconds).answered) / seconds


def steps(
    moments: Sequence[Moment], begin: float, end: float, value: Callable[[Moment], float]
) -> list[tuple[float, float]]:
    """Pairs (seconds since 1970, value): at `begin`, at each change and at `end`."""
    if not moments:
        return []
    inside = [(one.at, value(one)) for one in moments if begin < one.at <= end]
    first = (begin, value(_at(moments, begin))) if moments[0].at <= begin else (inside[0][0], inside[0][1])
    changes = [first, *(new for old, new in pairwise([first, *inside]) if new[1] != old[1])]
    return [*changes, (end, changes[-1][1])]


def rates(moments: Sequence[Moment], begin: float, end: float, parts: int) -> list[tuple[float, float]]:
    """Pairs (seconds since 1970, photos a second) for each of `parts` equal spans between `begin` and `end`."""
    if not moments:
        return []
    length = (end - begin) / parts
    counts = [_at(moments, begin + part * length).answered for part in range(parts + 1)]
    return [(begin + (part + 1) * length, (new - old) / length) for part, (old, new) in enumerate(pairwise(counts))]


def _at(moments: Sequence[Moment], time: float) -> Moment:
    """The moment that held at `time`; the first for an earlier time."""
    return moments[max(0, bisect_right(moments, time, key=lambda one: one.at) - 1)]
