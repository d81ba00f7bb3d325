"""Reads batches from the buckets, which hold the truth: after a restart a page shows the same."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from shoal.accounts.owned_batches import OwnedBatches
from shoal.buckets import deleted_batches, failures
from shoal.buckets.corrections import Corrections
from shoal.buckets.deleted_batches import DeletedBatches
from shoal.errors import MalformedMessage, NotFound, Retryable
from shoal.messages import CANCELLED, Job, Result, batch_floor, is_batch, readable
from shoal.photo_record import TOP, record
from shoal.ports import Clock, Cloud, ObjectStore, StoredObject
from web_tier.problems import Problem, unknown_batch
from web_tier.results.bucket_watch import BucketWatch
from web_tier.results.hub import REMEMBERED_RESULTS, Hub
from web_tier.results.listing import Listing, jobs_of

Found = TypeVar("Found")

NOTHING = "nothing found"
EMPTY_SECONDS = 3600.0  # a batch may be empty for this long after its id was made, by any process
LISTS_AT_ONCE = 16  # for all pages together: more would only slow each other down
AHEAD_SECONDS = 60.0  # the clocks of two web processes may differ by this much


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo of a batch.

    stored: whether its bytes are in the input bucket. result: None while it waits for its label. correction: a person's
    label where the model's is wrong.
    """

    job: Job
    stored: bool
    result: Result | None
    correction: str = ""

    @property
    def state(self) -> str:
        """queued, done or failed; a cancelled photo is failed, and `is_cancelled`."""
        return self.result.status if self.result else "queued"

    @property
    def can_retry(self) -> bool:
        """Whether it failed and may be labelled when it is tried again: not where the photo itself is at fault."""
        failed = self.result is not None and self.state == "failed"
        return self.stored and failed and not self.is_cancelled and not self.is_bad

    @property
    def is_bad(self) -> bool:
        """Whether the photo itself cannot be labelled."""
        return self.result is not None and self.result.bad_photo

    @property
    def is_cancelled(self) -> bool:
        """Whether a person cancelled it before it was labelled."""
        return self.result is not None and self.result.is_cancelled

    @property
    def is_cached(self) -> bool:
        """Whether a worker remembered the answer to the same bytes."""
        return self.result is not None and self.result.cached

    @property
    def label(self) -> str:
        """What is in it, in a few words."""
        if self.result and self.result.labels:
            return self.result.labels[0].name
        counts = Counter(name for name, _ in self.named)
        if not counts:
            return NOTHING
        return ", ".join(f"{name} ×{count}" if count > 1 else name for name, count in counts.items())

    @property
    def readable(self) -> str:
        """Its label for people: European fire salamander."""
        return readable(self.label)

    @property
    def share(self) -> float | None:
        """The probability of its first label or detection; None without one."""
        if self.result and self.result.labels:
            return self.result.labels[0].probability
        return self.result.detections[0].score if self.result and self.result.detections else None

    @property
    def named(self) -> list[tuple[str, float]]:
        """Its labels or detections with their probabilities, best first."""
        if not self.result:
            return []
        labels = [(one.name, one.probability) for one in self.result.labels[:TOP]]
        return labels or [(one.name, one.score) for one in self.result.detections]

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> measured seconds."""
        return self.result.seconds if self.result else {}

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons to doubt its label."""
        return self.result.warnings if self.result else ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the picture, computed from its detections; (0, 0) without any."""
        found = self.result.detections if self.result else ()
        if not found:
            return (0, 0)
        width = max((one.relative_box[2], one.box[2]) for one in found)
        height = max((one.relative_box[3], one.box[3]) for one in found)
        return round(width[1] / width[0]), round(height[1] / height[0])

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for the page and for programs."""
        told = record(self.job, self.result, self.correction)
        return told | ({"can_retry": self.can_retry} if self.state == "failed" else {})


@dataclass(frozen=True, slots=True)
class Batch:
    """All photos of a batch in their order.

    seconds: from the first photo stored to the last change. began: when that was, in seconds since 1970.
    """

    id: str
    photos: tuple[Photo, ...]
    seconds: float
    began: float = 0.0

    @property
    def total(self) -> int:
        """The number of photos."""
        return len(self.photos)

    def count(self, state: str) -> int:
        """The number of photos in a state."""
        return sum(photo.state == state for photo in self.photos)

    def stand_in(self, models: Sequence[str]) -> str:
        """The model that labelled because one of `models` was not available; empty when there is none."""
        used = {photo.result.model for photo in self.photos if photo.state == "done" and photo.result}
        return min(used - {*models, ""}, default="")

    @property
    def finished(self) -> bool:
        """Whether every photo is answered."""
        return bool(self.photos) and not self.count("queued")

    @property
    def cancelled(self) -> int:
        """How many were cancelled before they were labelled."""
        return sum(photo.is_cancelled for photo in self.photos)

    @property
    def cached(self) -> int:
        """How many were answered from a worker's memory."""
        return sum(photo.is_cached for photo in self.photos)

    @property
    def state(self) -> str:
        """queued while photos wait; then cancelled if any was cancelled, else done."""
        return "queued" if not self.finished else "cancelled" if self.cancelled else "done"

    def summary(self) -> dict[str, Any]:
        """Its progress without its photos, as JSON types, for programs."""
        return {
            "batch": self.id,
            "state": self.state,
            "total": self.total,
            "done": self.count("done"),
            "failed": self.count("failed") - self.cancelled,
            "cancelled": self.cancelled,
            "queued": self.count("queued"),
            "page": f"/batches/{self.id}",
            "results": f"/v1/batches/{self.id}/results",
        }

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for programs."""
        return {
            "batch": self.id,
            "url": f"/batches/{self.id}",
            "total": self.total,
            "done": self.count("done"),
            "failed": self.count("failed") - self.cancelled,
            "cancelled": self.cancelled,
            "queued": self.count("queued"),
            "seconds": round(self.seconds, 1),
            "photos": [photo.to_dict() for photo in self.photos],
        }


@dataclass(frozen=True, slots=True)
class Page:
    """Some photos of a batch in their order. more: whether further photos follow."""

    photos: tuple[Photo, ...]
    more: bool


class Batches:
    """Reads batches from the buckets. answering: what is entered while an answer reads them."""

    def __init__(
        self,
        cloud: Cloud,
        clock: Clock,
        hub: Hub,
        readers: ThreadPoolExecutor,
        corrections: Corrections,
        answering: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._cloud = cloud
        self._clock = clock
        self._hub = hub
        self._readers = readers
        self._listing = threading.BoundedSemaphore(LISTS_AT_ONCE)
        self._asked: dict[tuple[int, str], Future[list[StoredObject]]] = {}
        self._watches: WeakValueDictionary[str, BucketWatch] = WeakValueDictionary()
        self._asking = threading.Lock()
        self._corrections = corrections
        self._answering = answering
        self.deleted = DeletedBatches(cloud.outputs)
        self._failures: dict[str, StoredObject] = {}  # the objects whose failed results the hub remembers

    def check_open(self, batch: str) -> None:
        """Raise Problem (404) when `batch` is no id of a batch, or of one that was deleted."""
        if not is_batch(batch) or batch in self.deleted:
            raise unknown_batch()

    def check(self, batch: str) -> None:
        """Raise Problem (404) when `batch` is unknown. May raise Retryable."""
        self.check_open(batch)
        if self._may_be_empty(batch):
            return
        stores = (self._cloud.inputs, self._cloud.outputs)
        if all(next(iter(store.list(f"{batch}/")), None) is None for store in stores):
            raise unknown_batch()

    def read(self, batch: str) -> Batch:
        """Read the whole batch. Raises Problem (404) when it is unknown; may raise Retryable."""
        with self._answering():
            return self._read(batch)

    def _read(self, batch: str) -> Batch:
        self.check_open(batch)
        # Together: the store may have others to serve before each call.
        lists = [self._later(self._list, store, batch) for store in (self._cloud.inputs, self._cloud.outputs)]
        right = self._corrections.of(f"{batch}/")
        found = _listing(*(listed.result() for listed in lists))
        if not found.stored and not found.answered and not self._may_be_empty(batch):
            raise unknown_batch()
        results = {result.key: result for result in self.results(found.answered.values())}
        jobs = jobs_of(found.stored.keys() | found.answered.keys())
        photos = tuple(
            Photo(job, job.key in found.stored, results.get(job.key), right.get(job.key, "")) for job in jobs
        )
        return Batch(batch, photos, found.seconds, found.began)

    def listing(self, batch: str) -> Listing:
        """The keys of both buckets as they are now. May raise Retryable."""
        return _listing(self._list(self._cloud.inputs, batch), self._list(self._cloud.outputs, batch))

    def watch(self, batch: str) -> BucketWatch:
        """The one watch of all who look at `batch` at this time: it lives as long as one of them keeps it."""
        with self._asking:
            watch = self._watches.get(batch)
            if watch is None:
                watch = self._watches[batch] = BucketWatch(lambda: self.listing(batch))
            return watch

    def _list(self, store: ObjectStore, batch: str) -> list[StoredObject]:
        """All objects of a batch. Callers who wait for the same listing to begin share it."""
        place = (id(store), batch)
        with self._asking:
            found = self._asked.get(place)
            if found is None:
                mine = self._asked[place] = Future()
        if found is not None:
            return found.result()
        with self._listing:
            with self._asking:
                del self._asked[place]
            try:
                mine.set_result(list(store.list(f"{batch}/")))
            except BaseException as error:  # the callers who wait must get every error
                mine.set_exception(error)
        return mine.result()

    def _may_be_empty(self, batch: str) -> bool:
        """Whether its id, which begins with the time, is recent: its photos may still be on their way."""
        now = self._clock.now()
        return batch_floor(now - EMPTY_SECONDS) <= batch < batch_floor(now + AHEAD_SECONDS)

    def page(self, batch: str, after: int, limit: int) -> Page:
        """At most `limit` photos with an index above `after`. Raises Problem (404); may raise Retryable."""
        with self._answering():
            return self._page(batch, after, limit)

    def _page(self, batch: str, after: int, limit: int) -> Page:
        self.check(batch)
        start = f"{batch}/{max(0, after + 1):05d}"

        def some(store: ObjectStore) -> list[StoredObject]:
            return list(islice(store.list(f"{batch}/", start, limit + 1), limit + 1))

        lists = [self._later(some, store) for store in (self._cloud.inputs, self._cloud.outputs)]
        right = self._corrections.of(f"{batch}/")
        stored, answered = ({one.key: one for one in listed.result()} for listed in lists)
        jobs = jobs_of(stored.keys() | answered.keys())
        shown = [answered[job.key] for job in jobs[:limit] if job.key in answered]
        results = {one.key: one for one in self.results(shown)}
        photos = tuple(
            Photo(job, job.key in stored, results.get(job.key), right.get(job.key, "")) for job in jobs[:limit]
        )
        return Page(photos, len(jobs) > limit)

    def photo(self, batch: str, index: int) -> Photo:
        """One photo. Raises Problem (404); may raise Retryable."""
        found = self.page(batch, index - 1, 1).photos
        if not found or found[0].job.index != index:
            raise Problem(404, f"The batch has no photo {index}.")
        return found[0]

    def cancel(self, batch: str) -> tuple[int, int]:
        """Cancel the photos without a result. Returns how many are cancelled now, and how many had been labelled.

        A cancelled photo stays cancelled, whatever a worker that has it already does later. Raises Problem (404); may
        raise Retryable.
        """
        cancelled = []
        for photo in self.read(batch).photos:
            result = Result.failed(photo.job.key, CANCELLED)
            if photo.result is None and self._cloud.outputs.put_new(
                result.key, result.to_json().encode(), "application/json"
            ):
                self._cloud.inputs.delete(result.key)
                cancelled.append(result)
        self._hub.publish(cancelled)
        found = self.read(batch)
        return found.cancelled, found.count("done")

    def delete(self, batch: str) -> int:
        """Delete all that is kept of a batch, for good. Returns how many photos it had.

        What workers write of it from now on is dropped, or deleted by the sweeper. Raises Problem (404); may raise
        Retryable: then it is unknown already, and the sweeper deletes the rest.
        """
        self.check(batch)
        self.deleted.add(batch)
        return self.purge(batch)

    def purge(self, batch: str) -> int:
        """Delete what is there of a deleted batch. Returns how many photos it had. May raise Retryable."""
        owned = OwnedBatches(self._cloud.outputs)
        if owner := owned.owner(batch):
            owned.drop(batch, owner)
        count = deleted_batches.purge(self._cloud.inputs, self._cloud.outputs, batch, self._readers)
        self._hub.drop(batch)
        self._failures = {key: one for key, one in self._failures.items() if not key.startswith(f"{batch}/")}
        return count

    def answers(self, batch: str, known: Iterable[str]) -> list[Result]:
        """The results in the output bucket whose keys are not among `known`. May raise Retryable."""
        skip = frozenset(known)
        return self.results(one for one in self._list(self._cloud.outputs, batch) if one.key not in skip)

    def job(self, batch: str, index: int) -> Job | None:
        """The stored photo with that index, or None. May raise Retryable."""
        if not is_batch(batch) or batch in self.deleted:
            return None
        return next(iter(jobs_of(one.key for one in self._cloud.inputs.list(f"{batch}/{index:05d}"))), None)

    def reopen(self, photo: Photo) -> None:
        """Delete the failed result of a photo before it is labelled again. May raise Retryable."""
        self._cloud.outputs.delete(photo.job.key)
        failures.dig_up(self._cloud.outputs, photo.job.key)
        self._hub.forget(photo.job.key)
        if watch := self._watches.get(photo.job.batch):
            watch.reopened()

    def results(self, listed: Iterable[StoredObject]) -> list[Result]:
        """The results of objects in a listing, of those that still exist: remembered, or read from the output bucket.

        May raise Retryable.
        """
        found: list[Result] = []
        unread: list[StoredObject] = []
        for one in listed:
            result = self._hub.recall(one.key)
            # Another process may have had a failed photo labelled again: then its object is another one.
            if result is None or (result.status == "failed" and self._failures.get(one.key) != one):
                unread.append(one)
            else:
                found.append(result)
        try:
            fetched = self._readers.map(self._fetch, unread)
        except RuntimeError:
            raise Retryable("the web tier is stopping") from None
        return found + [result for result in fetched if result is not None]

    def _later(self, call: Callable[..., Found], *given: Any) -> Future[Found]:
        """Make a call in another thread. Raises Retryable while the threads are being stopped."""
        try:
            return self._readers.submit(call, *given)
        except RuntimeError:
            raise Retryable("the web tier is stopping") from None

    def _fetch(self, listed: StoredObject) -> Result | None:
        result = fetch_result(self._cloud.outputs, listed.key)
        if result is not None:
            self._hub.remember(result)
            if result.status == "failed":
                self._remember_failure(listed)
        return result

    def _remember_failure(self, listed: StoredObject) -> None:
        if len(self._failures) >= REMEMBERED_RESULTS:
            self._failures.clear()  # they are read once more
        self._failures[listed.key] = listed


def _listing(stored: Iterable[StoredObject], answered: Iterable[StoredObject]) -> Listing:
    return Listing({one.key: one for one in stored}, {one.key: one for one in answered})


def fetch_result(outputs: ObjectStore, key: str) -> Result | None:
    """The result stored at `key`; None without one; a failed result when it cannot be read. May raise Retryable."""
    try:
        result = Result.from_json(outputs.get(key))
    except NotFound:
        return None
    except MalformedMessage:
        return Result.failed(key, "the stored result cannot be read")
    return result if result.key == key else Result.failed(key, "the stored result is of another photo")
