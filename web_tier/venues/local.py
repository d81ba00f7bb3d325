"""The venue `local`: the web process labels the photos itself. No queue and no bucket is on the way to the answer.

`submit` returns when the photo is labelled: what is accepted is answered. The result is written to the output bucket a
moment later, and then the photo to the input bucket, if it is kept: in this order nobody queues it for the pool.
"""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from inference import process
from shoal.errors import Retryable
from shoal.messages import Job, Result
from shoal.settings import Settings
from web_tier.problems import Problem
from web_tier.venues import ANYBODY, Asker, Submission, Told, Venue, VenueParts
from web_tier.venues._arenas import share_arenas
from web_tier.venues._engine import LocalEngine, PhotoToLabel
from web_tier.venues._fair_queue import Full

BUSY = "This server has as many photos as it can label in two seconds. Please send the photo again in a moment."
LEFT = "the client has left"
AGAIN_AT_ONCE = 16  # photos that are labelled again: enough for the engine's batches


def make(parts: VenueParts) -> Venue:
    """Load the models and start the engine. Raises NotFound when they are not prepared, SettingsError."""
    share_arenas()
    return LocalVenue(parts, LocalEngine(load(parts.settings)))


def load(settings: Settings) -> process.Recogniser:
    """The models as a worker loads them, ready for the first photo. Raises what `check` raises."""
    check(settings)
    process.choose_as_set(settings)
    recogniser = process.load_as_set(settings)
    recogniser.warm_up()
    return recogniser


def check(settings: Settings) -> None:
    """Raise NotFound when a model is not prepared, SettingsError for a wrong name."""
    process.check_as_set(settings)


class LocalVenue:
    """Labels photos in this process."""

    stores = False

    def __init__(self, parts: VenueParts, engine: LocalEngine) -> None:
        self._parts = parts
        self._engine = engine

    @property
    def per_second(self) -> float | None:
        """Photos a second lately; an assumed number until a few photos are labelled."""
        return self._engine.rate.per_second

    def open(self, asker: Asker = ANYBODY) -> Submission:
        """Begin a submission. Raises Problem (503) when too many photos wait, before a photo is looked at."""
        if refusal := self.full(asker.address):
            raise refusal
        return LocalSubmission(self._parts, self._engine, asker)

    def full(self, address: str) -> Problem | None:
        """The answer while too many photos wait."""
        return None if self._engine.has_place(address) else busy(self._engine)

    def begin(self, job: Job, payload: bytes, asker: Asker, told: Told) -> None:
        """Label a photo that is not kept, without a thread of the caller. Its result is stored as those of submissions.

        told: called with the result, or with the problem that a submission would raise, by a thread of the engine.
        Raises Retryable when the photo is not taken.
        """
        self._parts.behind.check()
        photo = PhotoToLabel(job, payload, asker.left)
        photo.answer.add_done_callback(lambda answer: told(self._outcome(job, answer)))
        self._engine.begin(asker.address, photo)

    def _outcome(self, job: Job, answer: Future[Result]) -> Result | Problem:
        try:
            result = answer.result()
        except Full:
            return Problem(499, LEFT)
        except Retryable as error:
            return Problem(503, str(error))
        keep_result(self._parts, job, result)
        return result

    def again(self, jobs: Sequence[Job]) -> None:
        """Label photos again that are in the input bucket. May raise Retryable."""
        submission = LocalSubmission(self._parts, self._engine, Asker(keep_photos=False), patient=True)

        def label(job: Job) -> None:
            submission.submit(job, self._parts.inputs.get(job.key))

        with ThreadPoolExecutor(AGAIN_AT_ONCE, thread_name_prefix="again") as threads:
            list(threads.map(label, jobs))

    def stop(self) -> None:
        """End the engine's threads. Photos that wait get an error that says to send them again."""
        self._engine.stop()


class LocalSubmission:
    """The photos of one request. The first is refused when too many photos wait, and all others with it: they would be
    labelled, and count, for a request that is refused. After a first one that has a place the others wait for theirs.

    patient: the first waits, too.
    """

    def __init__(self, parts: VenueParts, engine: LocalEngine, asker: Asker, patient: bool = False) -> None:
        self._parts = parts
        self._engine = engine
        self._asker = asker
        self._patient = patient
        self._refused = False
        self._first = threading.Lock()
        self.looked_at = asker.keep_photos  # what is kept is a photo

    def submit(self, job: Job, payload: bytes) -> None:
        """Label one photo. Raises Problem: 503 when too many photos wait or labelling failed, 499 for who has left."""
        self._parts.behind.check()
        result = self._label(job, payload)
        self._asker.labelled(job)
        keep_result(self._parts, job, result, payload if self._asker.keep_photos else None)

    def flush(self) -> None:
        """All photos are labelled already."""

    def _label(self, job: Job, payload: bytes) -> Result:
        photo = PhotoToLabel(job, payload, self._asker.left)
        try:
            self._begin(photo)
            return photo.answer.result()
        except Full:
            if self._asker.left():
                raise Problem(499, LEFT) from None
            raise busy(self._engine) from None
        except Retryable as error:
            raise Problem(503, str(error)) from error

    def _begin(self, photo: PhotoToLabel) -> None:
        if not self._patient:
            with self._first:
                if self._refused:
                    raise Full("the first photo found no place")
                if not self._patient:
                    self._refused = True
                    self._engine.begin(self._asker.address, photo)
                    self._refused, self._patient = False, True
                    return
        self._engine.begin(self._asker.address, photo, wait=True)


def keep_result(parts: VenueParts, job: Job, result: Result, photo: bytes | None = None) -> None:
    """Have a result stored, then its photo if that is kept, and tell who waits for it."""
    parts.outputs.put_later(job.key, result.to_json().encode(), "application/json")
    if photo is not None:
        parts.inputs.put_later(job.key, photo, _type_of(job))
    parts.publish([result])


def busy(engine: LocalEngine) -> Problem:
    """The answer when too many photos wait."""
    return Problem(503, BUSY, engine.wait_seconds)


def _type_of(job: Job) -> str:
    return mimetypes.guess_type(job.name)[0] or "application/octet-stream"
