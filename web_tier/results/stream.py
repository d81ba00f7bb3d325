"""The server-sent events of a batch, for one open page.

snapshot  {"total", "queued", "photos": [...]}   the batch as it is; for a long one, `photos` events bring the rest
photos    [...]                                  photos that came in, or are to be labelled again
results   [...]                                  photos that were answered
pool      {"visible", "in_flight", "pending", "running", "draining"}
status    {"line", "hindrance"}                  what goes on, in one sentence; why too few workers start
done      {"total", "failed", "seconds", "cost"} every photo so far is answered; the title of its cost, and the amount
stopping  {}                                     the server goes down; connect again

Each photo is its `card`: the words that a page shows, and by what it is found and sorted.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from shoal.errors import Retryable, ShoalError
from shoal.messages import Job, Result
from web_tier.results.batches import Batch, Batches, Photo
from web_tier.results.card import card
from web_tier.results.hub import Hub, Listener, News, PoolState
from web_tier.results.listing import Listing
from web_tier.results.open_streams import Wait
from web_tier.results.status import Counts, hindrance, status_line

log = logging.getLogger(__name__)

RETRY_MILLISECONDS = 1_500
HEARTBEAT_SECONDS = 10.0
WAKE_SECONDS = 1.0
GATHER_SECONDS = 0.1  # the least time between two events of results
IDLE_SECONDS = 900.0  # a page that waits for more photos is let go after this
PHOTOS_AN_EVENT = 500


class BatchStream:
    """Turns what the hub and the buckets know of a batch into events.

    waits_for_more: whether the stream goes on after every photo is answered.
    cost: the title and the amount of what a batch cost, from when it began, its seconds and its number of photos.
    """

    def __init__(
        self,
        hub: Hub,
        batches: Batches,
        batch: str,
        waits_for_more: bool,
        cost: Callable[[float, float, int], tuple[str, str]],
    ) -> None:
        self._hub = hub
        self._batches = batches
        self._batch = batch
        self._waits_for_more = waits_for_more
        self._cost = cost
        self._photos: dict[str, Photo] = {}
        self._done_sent = False
        self._last_status: dict[str, object] = {}
        self._pool: PoolState | None = None
        self._watch = batches.watch(batch)
        self._listing: Listing | None = None
        self._sent_at = self._changed_at = time.monotonic()

    def run(self, on_news: Callable[[], None]) -> Iterator[str | Wait]:
        """The events, until all photos are answered or the server stops; a Wait where there is nothing to say."""
        try:
            # Listen first, then list: nothing can slip by in between.
            with self._hub.listen(self._batch, pool=True, on_news=on_news) as listener:
                yield f"retry: {RETRY_MILLISECONDS}\n\n"
                yield from self._snapshot(self._batches.read(self._batch))
                yield from self._follow(listener)
        except ShoalError as error:
            log.warning("the stream of batch %s ends, its page will connect again: %s", self._batch, error)

    def _follow(self, listener: Listener) -> Iterator[str | Wait]:
        while not self._over():
            # Answers that come close together are one event.
            gap = self._sent_at + GATHER_SECONDS - time.monotonic()
            yield Wait(WAKE_SECONDS if self._open() else HEARTBEAT_SECONDS, max(0.0, gap))
            news = listener.take(0)
            yield from self._send(news)
            if news.stopping:
                yield event("stopping", {})
                return

    def _over(self) -> bool:
        if not self._done_sent:
            return False
        return not self._waits_for_more or time.monotonic() - self._changed_at > IDLE_SECONDS

    def _snapshot(self, found: Batch) -> Iterator[str]:
        self._photos = {photo.job.key: _without_labels(photo) for photo in found.photos}
        cards = [card(photo) for photo in found.photos]
        first, rest = cards[:PHOTOS_AN_EVENT], cards[PHOTOS_AN_EVENT:]
        yield event("snapshot", {"total": found.total, "queued": found.count("queued"), "photos": first})
        for start in range(0, len(rest), PHOTOS_AN_EVENT):
            yield event("photos", rest[start : start + PHOTOS_AN_EVENT])
        if self._open() or not found.total:
            yield from self._status()
        yield from self._done((found.began, found.seconds))

    def _send(self, news: News) -> Iterator[str]:
        now = time.monotonic()
        if news.results:
            self._watch.heard(result.key for result in news.results)
        if self._open():
            self._look(news)
        events = [*self._added(news.added), *self._answered(news.results)]
        if news.pool is not None:
            self._pool = news.pool
            events.append(event("pool", news.pool.counts()))
        if events and self._open():
            events += self._status()
        if not events and now - self._sent_at >= HEARTBEAT_SECONDS - WAKE_SECONDS:
            events.append(": still here\n\n")
        if events:
            self._sent_at = now
        yield from events
        yield from self._done()

    def _look(self, news: News) -> None:
        """Add what the last listing of the buckets has and this page does not know."""
        with suppress(Retryable):  # the buckets are asked again soon enough
            listing = self._watch.latest()
            if listing is None or listing is self._listing:
                return
            news.added += [job for job in listing.jobs if job.key not in self._photos]
            news.results += self._batches.results(
                one
                for key, one in listing.answered.items()
                if key not in self._photos or self._photos[key].result is None
            )
            self._listing = listing

    def _added(self, jobs: list[Job]) -> Iterator[str]:
        for job in jobs:
            self._photos[job.key] = Photo(job, True, None)
        if jobs:
            self._changed()
            yield event("photos", [card(Photo(job, True, None)) for job in jobs])

    def _answered(self, results: list[Result]) -> Iterator[str]:
        cards = []
        for result in results:
            known = self._photos.get(result.key)
            if known is not None and known.result is not None and known.result.status == result.status:
                continue  # sent before: the bucket and a response both know of it
            photo = Photo(Job.from_key(result.key, ""), known is not None and known.stored, result)
            self._photos[result.key] = _without_labels(photo)
            cards.append(card(photo))
        if cards:
            self._changed()
            yield event("results", cards)

    def _changed(self) -> None:
        self._done_sent = False
        self._changed_at = time.monotonic()

    def _open(self) -> bool:
        return any(photo.result is None for photo in self._photos.values())

    def _done(self, times: tuple[float, float] | None = None) -> Iterator[str]:
        """times: when the batch began, and its seconds; read from the buckets if they are not given."""
        if self._done_sent or not self._photos or self._open():
            return
        self._done_sent = True
        if times is None:
            listing = self._watch.complete(self._photos.keys())
            times = listing.began, listing.seconds
        began, seconds = times
        failed = sum(photo.state == "failed" for photo in self._photos.values())
        yield from self._status(seconds)
        facts = {"total": len(self._photos), "failed": failed, "seconds": round(seconds, 1)}
        yield event("done", facts | {"cost": self._cost(began, seconds, len(self._photos))})

    def _status(self, seconds: float = 0.0) -> Iterator[str]:
        """What is said of the batch, if it differs from the last."""
        count = Counts.of(self._photos.values())
        line = status_line(count, seconds, self._pool)
        told = {"line": line, "hindrance": hindrance(self._pool) if count.queued else "", "total": count.total}
        if told != self._last_status:
            self._last_status = told
            yield event("status", told)


def _without_labels(photo: Photo) -> Photo:
    """What a stream keeps of a photo that it sent: a long batch has many labels."""
    if photo.result is None:
        return photo
    kept = Result(photo.result.key, photo.result.status, error=photo.result.error, cached=photo.result.cached)
    return Photo(photo.job, photo.stored, kept, photo.correction)


def event(name: str, data: Any) -> str:
    """One event as it goes over the wire."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"
