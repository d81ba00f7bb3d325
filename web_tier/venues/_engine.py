"""Labels photos in this process: decodes in threads, runs the engine on small batches, answers each caller.

A photo waits in the FairQueue until a thread decodes it, and then for the engine. An idle engine takes a photo at once;
a busy one finds several and takes them together.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field

from inference import process
from inference.answer import Answer, Decoded
from inference.process import Recogniser
from shoal.errors import BadImage, Retryable
from shoal.messages import Job, Result
from web_tier.venues._fair_queue import FairQueue, Full

log = logging.getLogger(__name__)

WAITING_SECONDS = 2.0  # of work, at most
FIRST_RATE = 20.0  # photos a second, until it is measured
LEAST_PLACES = 8
ENGINE_THREADS = 2  # while one reads what the engine answered, the engine has the other's batch
DECODE_THREADS = max(2, min(4, os.cpu_count() or 1))
NAME = "local"  # the worker that results name
MEASURED_SECONDS = 4.0  # of work, after which older work counts half
LAST_SECONDS = 0.8  # for the photos in work when the engine stops; the web server stops within two seconds

BROKE = "Labelling this photo broke. Please send it again."
STOPPING = "The server is about to restart. Please send the photo again."


@dataclass(eq=False, slots=True)
class PhotoToLabel:
    """A photo on its way. answer: its result, or the error. seconds: stage -> seconds. since: when its stage began."""

    job: Job
    payload: bytes
    left: Callable[[], bool]
    answer: Future[Result] = field(default_factory=Future)
    seconds: dict[str, float] = field(default_factory=dict)
    since: float = field(default_factory=time.perf_counter)

    def note(self, stage: str) -> None:
        """End a stage."""
        now = time.perf_counter()
        self.seconds[stage] = now - self.since
        self.since = now

    def done(self, result: Result) -> None:
        """Give the caller the result, unless an error came first."""
        with suppress(InvalidStateError):
            self.answer.set_result(result)

    def failed(self, error: Exception) -> None:
        """Give the caller an error, unless an answer came first."""
        with suppress(InvalidStateError):
            self.answer.set_exception(error)


class LabelRate:
    """Photos a second while there is work, lately. Safe for many threads."""

    def __init__(self) -> None:
        self._done = self._in_progress = 0
        self._busy = 0.0
        self._since = 0.0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A photo came in."""
        with self._lock:
            self._count(1)

    def end(self, done: bool) -> None:
        """A photo left. done: it was labelled."""
        with self._lock:
            self._count(-1)
            self._done += done
            if self._busy > MEASURED_SECONDS:
                self._busy, self._done = self._busy / 2, self._done // 2

    @property
    def per_second(self) -> float:
        """The rate; an assumed one until a few photos are done."""
        done, busy = self._done, self._busy
        return done / busy if done >= LEAST_PLACES and busy else FIRST_RATE

    def _count(self, change: int) -> None:
        now = time.monotonic()
        if self._in_progress:
            self._busy += now - self._since
        self._since = now
        self._in_progress += change


class LocalEngine:
    """Labels photos of many callers. Threads run from the start to `stop`."""

    def __init__(self, recogniser: Recogniser) -> None:
        self.recogniser = recogniser
        self.rate = LabelRate()
        self._waiting: FairQueue[PhotoToLabel] = FairQueue(self._places)
        self._decoded: list[tuple[PhotoToLabel, Decoded]] = []
        self._open: set[PhotoToLabel] = set()
        lock = threading.Lock()
        self._ready, self._room = threading.Condition(lock), threading.Condition(lock)  # of what is decoded
        self._stopping = False
        self._threads = [
            threading.Thread(target=run, name=f"local-{name}", daemon=True)
            for name, run, count in (("decode", self._decode, DECODE_THREADS), ("infer", self._infer, ENGINE_THREADS))
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def begin(self, client: str, photo: PhotoToLabel, wait: bool = False) -> None:
        """Have a photo labelled; `photo.answer` tells when it is, or Retryable when the engine failed or stops.

        wait: whether to wait when too many photos wait already. Raises Full and Closed.
        """
        self.rate.begin()
        self._open.add(photo)
        photo.answer.add_done_callback(lambda answer: self._over(photo, answer.exception() is None))
        try:
            self._waiting.put(client, photo, photo.left if wait else None)
        except BaseException:
            self._over(photo, False)
            raise

    def _over(self, photo: PhotoToLabel, done: bool) -> None:
        self._open.discard(photo)
        self.rate.end(done)

    def has_place(self, client: str) -> bool:
        """Whether a photo of this client would be taken now."""
        return self._waiting.has_place(client)

    @property
    def wait_seconds(self) -> int:
        """How long the photos that wait now will take, rounded up."""
        return max(1, math.ceil(len(self._waiting) / self.rate.per_second))

    def stop(self) -> None:
        """End the threads. Photos that wait, or are not done in a moment, get an error that says to send them again."""
        rest = self._waiting.close()
        with self._ready:
            self._stopping = True
            rest += [photo for photo, _ in self._decoded]
            self._decoded.clear()
            self._ready.notify_all()
            self._room.notify_all()
        for photo in rest:
            photo.failed(Retryable(STOPPING))
        in_work = list(self._open)
        futures.wait((photo.answer for photo in in_work), LAST_SECONDS)
        for photo in in_work:
            photo.failed(Retryable(STOPPING))

    def _places(self) -> int:
        return max(LEAST_PLACES, int(self.rate.per_second * WAITING_SECONDS))

    # decode

    def _decode(self) -> None:
        while photo := self._waiting.take():
            if photo.left():
                photo.failed(Full("the client has left"))
                continue
            try:
                self._prepare(photo)
            except Exception:
                log.exception("decoding %s broke", photo.job.key)
                photo.failed(Retryable(BROKE))

    def _prepare(self, photo: PhotoToLabel) -> None:
        photo.note("queue")
        try:
            decoded = self.recogniser.decode(photo.job.model, photo.payload)
        except BadImage as error:
            photo.done(Result.failed(photo.job.key, str(error), NAME, bad_photo=True))
            return
        photo.note("decode")
        with self._room:
            # Decode one batch ahead: what waits longer, waits in the fair queue.
            self._room.wait_for(lambda: len(self._decoded) < self._ahead(photo) or self._stopping)
            if self._stopping:
                photo.failed(Retryable(STOPPING))
                return
            self._decoded.append((photo, decoded))
            self._ready.notify()

    def _ahead(self, photo: PhotoToLabel) -> int:
        return max(2, self.recogniser.batch(photo.job.model))

    # infer

    def _infer(self) -> None:
        while batch := self._take():
            photos, decoded = [photo for photo, _ in batch], [one for _, one in batch]
            for photo in photos:
                photo.note("wait")
            try:
                answers = self.recogniser.infer(photos[0].job.model, decoded)
            except Exception:
                log.exception("a batch of %d photos broke, each is tried alone", len(batch))
                for photo, one in batch:
                    self._infer_alone(photo, one)
            else:
                self._answer(photos, answers)

    def _take(self) -> list[tuple[PhotoToLabel, Decoded]]:
        """Wait for a photo; take it with the others for its model that are decoded. None when the engine stops."""
        with self._ready:
            self._ready.wait_for(lambda: self._decoded or self._stopping)
            if self._stopping:
                return []
            model = self._decoded[0][0].job.model
            batch = [one for one in self._decoded if one[0].job.model == model][: self.recogniser.batch(model)]
            self._decoded = [one for one in self._decoded if one not in batch]
            self._room.notify_all()
            return batch

    def _infer_alone(self, photo: PhotoToLabel, decoded: Decoded) -> None:
        try:
            self._answer([photo], self.recogniser.infer(photo.job.model, [decoded]))
        except Exception:
            log.exception("labelling %s broke", photo.job.key)
            photo.failed(Retryable(BROKE))

    def _answer(self, photos: Sequence[PhotoToLabel], answers: Sequence[Answer]) -> None:
        for photo, answer in zip(photos, answers, strict=True):
            photo.note("infer")
            photo.done(process.done(self.recogniser, photo.job, answer, photo.seconds, NAME))
