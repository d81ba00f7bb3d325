"""Accepts the photos of a request: checks, stores and queues them, several at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from inference import images, private_data
from shoal.buckets.pending_photos import PendingPhotos
from shoal.errors import BadImage, Retryable, StorageFull
from shoal.messages import Job, Result, safe_name
from shoal.plugins import meant
from shoal.ports import ObjectStore
from shoal.settings import Settings
from web_tier.intake.offers import OfferedPhoto, OfferedPhotos
from web_tier.problems import Problem, unknown_batch
from web_tier.results.batches import Batches, Photo
from web_tier.results.hub import Hub
from web_tier.results.reply_queue import ReplyQueue
from web_tier.schemas.requests import MOST_INDEX
from web_tier.venues import ANYBODY, Asker, Submission, Venue
from web_tier.words import photos, too_large

log = logging.getLogger(__name__)

AT_ONCE = 6  # photos of one request that are stored at once: hides the latency, bounds memory and open files

HELD = 8  # photos of a form in hand before the first is stored: a shorter form is read to its end by then

MOST_NAMED = 20  # photos in a sentence

STOPPING = "The server is about to restart. Please try again in a moment."


@dataclass(frozen=True, slots=True)
class IntakeOutcome:
    """A photo of a request.

    error:    why it was refused; empty if it was accepted.
    no_space: whether neither the photo nor its refusal could be stored.
    """

    job: Job
    error: str = ""
    no_space: bool = False

    @property
    def photo(self) -> Photo:
        """The photo as its batch shows it now."""
        return Photo(self.job, not self.error, Result.failed(self.job.key, self.error) if self.error else None)


class Intake:
    """Accepts photos. One instance serves all requests; safe for many threads."""

    def __init__(
        self,
        settings: Settings,
        models: Sequence[str],
        venue: Venue,
        batches: Batches,
        outputs: ObjectStore,
        replies: ReplyQueue,
        hub: Hub,
        workers: ThreadPoolExecutor,
    ) -> None:
        self._settings = settings
        self._models = models
        self._venue = venue
        self._batches = batches
        self._outputs = outputs
        self._replies = replies
        self._hub = hub
        self._workers = workers

    def take(
        self,
        offers: OfferedPhotos,
        batch: str,
        first: int = 0,
        venue: Venue | None = None,
        asker: Asker = ANYBODY,
    ) -> list[IntakeOutcome]:
        """Store and queue all photos of a request as `batch`, with indexes from `first` on.

        venue: where they are labelled; the operator's choice when None. asker: who sends them.

        A photo that cannot be labelled is refused alone, and its failed result is stored. Photos are queued when all of
        the request is read and stored: until then they are pending, and after an error the sweeper removes them.
        Raises Problem for a request without photos, for an unknown model and for a deleted batch, one that names the
        photos that were not kept (507) when the storage is full, and one that names the batch when the queue fails
        (503). Raises Retryable when the storage fails. After the last three the same call may be repeated: it writes
        the same objects.
        """
        venue = venue or self._venue
        submission = venue.open(asker)
        pending = PendingPhotos(self._outputs, batch, first, needs_mark=venue.stores)
        try:
            outcomes = self._store(offers, submission, pending, batch, first)
            pending.accept()
        except Exception:
            pending.refuse()
            raise
        _queue(submission, batch)
        if batch in self._batches.deleted:  # before these photos came, or meanwhile
            self._batches.purge(batch)
            raise unknown_batch()
        _check_space(outcomes, batch)
        return outcomes

    def _store(
        self, offers: OfferedPhotos, submission: Submission, pending: PendingPhotos, batch: str, first: int
    ) -> list[IntakeOutcome]:
        """Store all photos, several at a time, and write the mark of those that are stored before the end is read."""
        running: deque[Future[IntakeOutcome]] = deque()
        held: deque[tuple[Job, OfferedPhoto]] = deque()
        outcomes: list[IntakeOutcome] = []

        def store_held() -> None:
            # This thread stores the last photo itself: with one photo a request, another thread would only cost time.
            while len(held) > 1:
                pending.last_stored = held[0][0].index
                running.append(self._start(submission, *held.popleft()))
                if len(running) >= AT_ONCE:
                    outcomes.append(running.popleft().result())

        try:
            for index, offer in enumerate(offers, first):
                held.append((self._job(offers, offer, batch, index), offer))
                if offers.whole:
                    store_held()
                elif len(held) > HELD:
                    pending.cover(index)
                    store_held()
            store_held()
            pending.last_stored = held[0][0].index if held else None
            final = [self._accept(submission, *held.popleft())] if held else []
            outcomes += [future.result() for future in running] + final
            running.clear()
        finally:
            for _, offer in held:
                offer.close()
            for future in running:  # no thread may outlive the request
                future.exception()
        return outcomes

    def retry(self, batch: str, take_one: Callable[[], None]) -> int:
        """Queue the failed photos of a batch again. Returns their number.

        take_one: counts a photo before any is queued; may raise Problem. Raises Problem (404); may raise Retryable.
        """
        failed = [photo for photo in self._batches.read(batch).photos if photo.can_retry]
        for _ in failed:
            take_one()
        jobs = [replace(photo.job, reply_to=self._replies.name) for photo in failed]
        for photo in failed:
            self._batches.reopen(photo)
        for job in jobs:
            self._hub.added(job)
        self._venue.again(jobs)
        return len(jobs)

    def check_model(self, model: str) -> None:
        """Raise Problem (400) when `model` is not served."""
        if model not in self._models:
            served = ", ".join(self._models)
            hint = meant(model[:60], self._models)
            raise Problem(400, f"The model {model[:60]!r} is not served here. These are: {served}. {hint}".strip())

    def _job(self, offers: OfferedPhotos, offer: OfferedPhoto, batch: str, index: int) -> Job:
        try:
            if offers.model:
                self.check_model(offers.model)
            if self._hub.stopping:
                raise Problem(503, STOPPING)
            if index > MOST_INDEX:
                raise Problem(413, f"A batch has at most {MOST_INDEX + 1:,} photos.")
        except Problem:
            offer.close()
            raise
        return Job(batch, index, safe_name(offer.name), self._replies.name, offers.model)

    def _start(self, submission: Submission, job: Job, offer: OfferedPhoto) -> Future[IntakeOutcome]:
        try:
            return self._workers.submit(self._accept, submission, job, offer)
        except RuntimeError:  # the threads are being stopped
            offer.close()
            raise Problem(503, STOPPING) from None

    def _accept(self, submission: Submission, job: Job, offer: OfferedPhoto) -> IntakeOutcome:
        try:
            payload = self._checked(offer, submission.looked_at)
        except BadImage as error:
            return self._refuse(job, str(error))
        finally:
            offer.close()
        self._hub.added(job)  # before its result can arrive
        try:
            submission.submit(job, payload)
        except StorageFull as error:
            log.warning("photo %d of batch %s is not kept: %s", job.index, job.batch, error)
            return IntakeOutcome(job, str(error), no_space=True)
        return IntakeOutcome(job)

    def _checked(self, offer: OfferedPhoto, looked_at: bool) -> bytes:
        if offer.error:
            raise BadImage(offer.error)
        if offer.body is None:
            limit = self._settings.max_file_bytes
            raise BadImage(too_large(offer.size, limit))
        if not looked_at:
            return offer.body.read()  # it is not stored, or is no photo: there is no private data to remove
        images.inspect(offer.body, self._settings.max_file_bytes, self._settings.max_pixels)
        offer.body.seek(0)
        photo = offer.body.read()
        return private_data.removed(photo) if self._settings.private_data == "remove" else photo

    def _refuse(self, job: Job, error: str) -> IntakeOutcome:
        result = Result.failed(job.key, error)
        try:
            self._outputs.put(job.key, result.to_json().encode(), "application/json")
        except StorageFull:
            return IntakeOutcome(job, error, no_space=True)
        self._hub.publish([result])
        log.info("refused photo %d of batch %s: %s", job.index, job.batch, error)
        return IntakeOutcome(job, error)


def _queue(submission: Submission, batch: str) -> None:
    """Send the messages. Raises Problem: some may have been sent, and the sweeper sends the others."""
    try:
        submission.flush()
    except Retryable as error:
        log.warning("the photos of batch %s are not all queued: %s", batch, error)
        status = 507 if isinstance(error, StorageFull) else 503
        text = "The queue does not answer, so the labels will come later"
        raise Problem(status, f"{text}. The photos of this request are in /batches/{batch}.") from None


def _check_space(outcomes: Sequence[IntakeOutcome], batch: str) -> None:
    """Raise Problem (507) when the storage was full for some photos."""
    lost = [one.job.name for one in outcomes if one.no_space]
    if not lost:
        return
    names = ", ".join(lost[:MOST_NAMED]) + (f" and {len(lost) - MOST_NAMED} more" if len(lost) > MOST_NAMED else "")
    text = f"The storage is full. Not kept: {names}."
    if kept := len(outcomes) - len(lost):
        text += f" {photos(kept)} of this request {'is' if kept == 1 else 'are'} kept, in /batches/{batch}."
    raise Problem(507, text)
