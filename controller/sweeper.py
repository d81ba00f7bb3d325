"""Finds accepted photos that were forgotten: dead letters, and photos with neither a result nor a message.

So no photo is lost when a queue is lost, or when a process dies between writing an object and queueing it. Photos of a
request that was not accepted have a mark, and are removed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from itertools import takewhile

from shoal.buckets import deleted_batches, failures, foreign_messages, passing_records, retention
from shoal.buckets.deleted_batches import RUNS, DeletedBatches
from shoal.buckets.foreign_messages import ForeignMessage
from shoal.buckets.pending_photos import Mark, read_marks
from shoal.buckets.suspects import GIVEN_UP
from shoal.errors import MalformedMessage, NotFound, Retryable, ShoalError
from shoal.messages import Job, Result, batch_floor, is_job_key
from shoal.ports import Clock, Cloud, ObjectStore, Received, StoredObject

log = logging.getLogger(__name__)

DAY_SECONDS = 24 * 3600.0
HOUR_SECONDS = 3600.0
PROBE_SECONDS = 600.0  # a test upload that is older was left behind by a process that died
PAGE = 1000
PAGE_SECONDS = 2.6  # a million pages in a month
SEND_AT_ONCE = 100
SHOWN = 300  # characters of a message that is not ours
MOST_TOLD = 1000
# A slow worker keeps some dozens, and so did one that died: others are rightly answered long before those.
OVERTAKEN_AFTER = 4


def _without_runs(store: ObjectStore, after: str) -> list[StoredObject]:
    """The objects after a key. A listing is sorted: photos and marks come before the many objects of bulk runs."""
    return list(takewhile(lambda one: not one.key.startswith(RUNS), store.list("", after)))


class Sweeper:
    """Looks over the buckets and the dead-letter queue.

    reply_to:      the queue that responses of queued-again photos go to.
    after_seconds: how old an input object must be before it can count as forgotten.
    days:          how many days back the buckets are read. If they hold many photos, the last hour is read more often.
    keep_days:     the age at which batches are deleted; 0 keeps them.
    """

    def __init__(
        self, cloud: Cloud, clock: Clock, reply_to: str, after_seconds: float, days: float, keep_days: float = 0.0
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._reply_to = reply_to
        self._after_seconds = after_seconds
        self._whole, self._recent = Window(days * DAY_SECONDS), Window(min(days * DAY_SECONDS, HOUR_SECONDS))
        self._again = Again(after_seconds)
        self._told: set[str] = set()  # what was passed over
        self._records_looked_at = 0.0
        self._deleted = DeletedBatches(cloud.outputs)
        self._keep_days = keep_days

    def sweep(self) -> None:
        """Sweep once. Raises Retryable when the cloud cannot be read; the next sweep does the rest."""
        if found := deleted_batches.sweep(self._cloud.inputs, self._cloud.outputs, self._clock.now()):
            log.warning("deleted %d photos once more: their batch had been deleted while they were labelled", found)
        buried = self.bury_dead_letters()
        if buried:
            log.warning("%d photos failed for good: their messages were in the dead-letter queue", buried)
        now = self._clock.now()
        window = next((one for one in (self._whole, self._recent) if one.due(now)), None)
        if window and (found := self.queue_forgotten(window)):
            log.warning("%d photos had neither a result nor a message: queued again", found)
        self._cloud.uploads.remove_probes(now - PROBE_SECONDS)
        if now - self._records_looked_at > HOUR_SECONDS:
            passing_records.remove_old(self._cloud.outputs, now)
            if not self._keep_days or self._remove_old_batches(now):
                self._records_looked_at = now

    def _remove_old_batches(self, now: float) -> bool:
        """Whether all old batches are deleted; if not, the next sweep goes on."""
        deleted = retention.remove_old(self._cloud.inputs, self._cloud.outputs, now, self._keep_days)
        if deleted:
            log.info("deleted %d objects of batches that are older than %g days", deleted, self._keep_days)
        return deleted < retention.MOST

    def bury_dead_letters(self) -> int:
        """Give every dead letter a failed result, so that its user sees it, and keep it; returns how many.

        A message that is no job is copied to the output bucket, where it stays until a person decides.
        """
        buried = 0
        while letters := self._cloud.dead_letters.receive(10, 0):
            handled = []
            for letter in letters:
                with self._by_itself(letter.body):
                    buried += self._bury(letter)
                    handled.append(letter.receipt)
            self._cloud.dead_letters.delete(handled)
        return buried

    @contextmanager
    def _by_itself(self, what: str) -> Iterator[None]:
        """Pass over what breaks, and say so once. A cloud that does not answer or lacks a part ends the sweep."""
        try:
            yield
        except (Retryable, NotFound):
            raise
        except Exception as error:
            if what not in self._told:
                log.error("the sweep passes over %s: %r", ascii(what[:SHOWN]), error)
                self._told = {what} if len(self._told) >= MOST_TOLD else self._told | {what}

    def _bury(self, letter: Received) -> bool:
        try:
            job = Job.from_json(letter.body)
        except MalformedMessage as error:
            foreign_messages.keep(self._cloud.outputs, ForeignMessage(letter.body, str(error)))
            log.error(
                "moved from the dead-letter queue to the output bucket, see `shoal dlq list`: %s; it is: %s",
                error,
                ascii(letter.body[:SHOWN]),
            )
            return False
        if job.batch in self._deleted or any(one.key == job.key for one in self._cloud.outputs.list(job.key)):
            return False
        failures.bury(self._cloud.outputs, job.key, letter.body, letter.deliveries)
        result = Result.failed(job.key, GIVEN_UP)
        self._cloud.outputs.put(job.key, result.to_json().encode(), "application/json")
        self._cloud.responses.send([result.to_json()])
        return True

    def queue_forgotten(self, window: Window | None = None) -> int:
        """Queue again what has neither a result nor a message, and remove pending photos; returns how many it queued.

        Nobody can look for a message in a queue, but two things tell that there is none: the queue is empty (the counts
        may lag, hence two readings and an age), or much later photos have been answered already. Should that be wrong,
        a photo is labelled twice with the same result.
        """
        window = window or self._whole
        empty = not self._cloud.requests.depth().total
        after = batch_floor(self._clock.now() - window.seconds)
        results = _without_runs(self._cloud.outputs, after)
        answered = {one.key for one in results}
        marks = read_marks(self._cloud.outputs, results)
        inputs = _without_runs(self._cloud.inputs, after)
        window.looked(self._clock.now(), len(results), len(inputs))
        photos = [one for one in inputs if is_job_key(one.key)]
        pending = [one for one in photos if any(mark.covers(one) for mark in marks)]
        now = self._clock.now()
        if empty and not self._cloud.requests.depth().total:
            lost = older_than(now - self._after_seconds, photos, answered)
            # Only now: a mark may have stayed behind although its request was accepted. And only where all its photos
            # were listed: the mark goes with them.
            abandoned = [mark for mark in marks if window is self._whole and mark.abandoned(now)]
            self._remove_abandoned(abandoned, pending, frozenset(lost))
        else:
            lost = overtaken(photos, answered, OVERTAKEN_AFTER * self._after_seconds)
        kept_back = {one.key for one in pending}
        due = self._again.due([key for key in lost if key not in kept_back], answered, now)
        self._send(due)
        return len(due)

    def _remove_abandoned(self, marks: Sequence[Mark], pending: Sequence[StoredObject], lost: AbstractSet[str]) -> None:
        """Remove the lost photos of requests that were not accepted, then the marks."""
        for mark in marks:
            for photo in pending:
                # The second look: the request may have been sent again in the meantime.
                if photo.key in lost and mark.covers(photo) and photo in self._cloud.inputs.list(photo.key):
                    self._cloud.inputs.delete(photo.key)
                    log.warning("removed %s: its request was not accepted", photo.key)
            self._cloud.outputs.delete(mark.key)

    def _send(self, keys: Sequence[str]) -> None:
        bodies = [Job.from_key(key, self._reply_to).to_json() for key in keys]
        for start in range(0, len(bodies), SEND_AT_ONCE):
            self._send_together(bodies[start : start + SEND_AT_ONCE])

    def _send_together(self, bodies: Sequence[str]) -> None:
        try:
            self._cloud.requests.send(bodies)
        except (Retryable, NotFound):
            raise
        except ShoalError:
            # Of those that went through, some go twice: that does no harm.
            for body in bodies:
                with self._by_itself(body):
                    self._cloud.requests.send([body])


class Window:
    """The last part of the buckets, and when it may be listed again.

    S3 takes $5 for a million listings of 1,000 objects. Beyond the first page of each bucket, every page read adds a
    pause, so that a window costs at most that in a month, whatever is in it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._looked_at, self._pause = 0.0, 0.0

    def due(self, now: float) -> bool:
        """Whether it may be listed at `now` (seconds since 1970); also when the clock was set back."""
        return not 0 <= now - self._looked_at < self._pause

    def looked(self, now: float, *objects: int) -> None:
        """Note how many objects each bucket listed."""
        self._looked_at = now
        self._pause = PAGE_SECONDS * sum(one // PAGE for one in objects)


class Again:
    """Doubles the time before a photo is queued again: it may be slow, or wait at the end of a long queue.

    Not a library's loop: it holds a pause for each of many photos.
    """

    def __init__(self, after_seconds: float) -> None:
        self._after_seconds = after_seconds
        self._known: dict[str, tuple[float, float]] = {}

    def due(self, lost: Sequence[str], answered: AbstractSet[str], now: float) -> list[str]:
        """The keys of `lost` that may be queued again at `now` (seconds since 1970)."""
        found = [key for key in lost if key not in self._known or now >= self._known[key][0]]
        self._known = {key: known for key, known in self._known.items() if key not in answered}
        for key in found:
            pause = 2 * self._known[key][1] if key in self._known else self._after_seconds
            self._known[key] = (now + pause, pause)
        return found


def older_than(limit: float, photos: Sequence[StoredObject], answered: AbstractSet[str]) -> list[str]:
    """The keys without a result that were stored before `limit` (seconds since 1970)."""
    return [one.key for one in photos if one.key not in answered and one.modified_at < limit]


def overtaken(photos: Sequence[StoredObject], answered: AbstractSet[str], by_seconds: float) -> list[str]:
    """The keys without a result that a photo stored more than `by_seconds` later has overtaken."""
    newest = max((one.modified_at for one in photos if one.key in answered), default=0.0)
    return older_than(newest - by_seconds, photos, answered)
