"""What goes on with a batch, in one sentence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from web_tier.results.batches import Photo
from web_tier.results.hub import PoolState
from web_tier.words import duration, number, photos, plural

COUNTING = "{} of {}"  # the title of a page whose photos wait; its script fills it in as well


@dataclass(frozen=True, slots=True)
class Counts:
    """The photos of a batch. queued: without an answer. failed, cancelled: apart from each other. cached: answered from
    a worker's memory."""

    total: int
    queued: int
    failed: int
    cancelled: int
    cached: int

    @classmethod
    def of(cls, photos: Collection[Photo], unsent: int = 0, unsent_cancelled: int = 0) -> Counts:
        """Count. unsent: photos that a page could not send, which count as failed. unsent_cancelled: those that it
        did not send any more."""
        states = Counter(photo.state for photo in photos)
        cancelled = sum(photo.is_cancelled for photo in photos)
        total = len(photos) + unsent + unsent_cancelled
        failed = states["failed"] - cancelled + unsent
        cached = sum(photo.is_cached for photo in photos)
        return cls(total, states["queued"], failed, cancelled + unsent_cancelled, cached)


def status_line(count: Counts, seconds: float, pool: PoolState | None) -> str:
    """The sentence for a batch. seconds: from its first photo to its last answer, said once all are answered."""
    if not count.total:
        return "Waiting for photos"
    if not count.queued:
        return _finished(count, seconds)
    labelling = f"Labelling: {number(count.total - count.queued)} of {number(count.total)}{_failed(count)}"
    if pool is None:
        return labelling
    if workers := pool.workers:
        return f"{labelling}, {number(workers)} {plural(workers, 'worker')}"
    if pool.pending:
        return f"Waiting for a worker: {number(pool.pending)} {'is' if pool.pending == 1 else 'are'} starting"
    return "Waiting for a worker: none is running yet"


def hindrance(pool: PoolState | None) -> str:
    """Why a batch that waits gets too few workers, as a sentence; empty when nothing stands in the way."""
    told = pool.hindrance if pool else ""
    return told[:1].upper() + told[1:]


def title_of(count: Counts, line: str) -> str:
    """The title of a batch's page, seen in a narrow tab: it counts while photos wait."""
    return COUNTING.format(number(count.total - count.queued), number(count.total)) if count.queued else line


def _finished(count: Counts, seconds: float) -> str:
    if count.cancelled:
        labelled = count.total - count.cancelled - count.failed
        failed = f", {number(count.failed)} failed" if count.failed else ""
        return f"Cancelled: {photos(count.cancelled)}. Labelled: {number(labelled)}{failed}"
    cached = ""
    if count.cached:
        whole = count.cached == count.total
        cached = f", {'all' if whole else number(count.cached)} from the answer cache"
    # On a narrow screen the line must not break between a figure and its unit.
    took = duration(seconds).replace(" ", "\N{NO-BREAK SPACE}") if seconds >= 1 else duration(seconds)
    return f"Done: {photos(count.total)} in {took}{_failed(count)}{cached}"


def _failed(count: Counts) -> str:
    return f", {number(count.failed)} of them failed" if count.failed else ""
