"""Uploads straight from the client to the input bucket: makes a form for each photo, and queues it once it arrived.

The form fixes the key of the photo and limits its size and type. A photo is queued when the client confirms it. The
controller's sweeper queues photos that are never confirmed: it looks for photos without a result and without a message.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shoal.messages import Job, Result
from shoal.ports import Cloud, ObjectStore, StoredObject, UploadForm
from web_tier.problems import Problem
from web_tier.results.hub import Hub
from web_tier.venues import Venue
from web_tier.words import too_large

log = logging.getLogger(__name__)

FORM_SECONDS = 900
PROBE_PAUSE_SECONDS = 30.0

OFF = "Uploads straight to the bucket are off here: send the photos as a form."


@dataclass(frozen=True, slots=True)
class Arrival:
    """A photo that a client has confirmed. status: accepted, failed (`error` says why) or missing from the bucket."""

    job: Job
    status: str
    error: str = ""


class Direct:
    """Makes upload forms and queues uploads. One instance serves all requests; safe for many threads.

    choice: on, off, or auto: on as soon as a test shows that the storage enforces the limits of a form.
    """

    def __init__(
        self, choice: str, most_bytes: int, cloud: Cloud, venue: Venue, hub: Hub, workers: ThreadPoolExecutor
    ) -> None:
        self._most_bytes = most_bytes
        self._cloud = cloud
        self._venue = venue
        self._hub = hub
        self._workers = workers
        self._stop = threading.Event()
        self._probes = choice == "auto" and bool(cloud.uploads.origin)
        self.on = choice == "on"

    @property
    def origin(self) -> str:
        """The origin that pages upload to; empty if uploads are off for good."""
        return self._cloud.uploads.origin if self.on or self._probes else ""

    def start(self) -> None:
        """Test the storage, in a thread, so that the start does not wait for it."""
        if self._probes:
            threading.Thread(target=self._probe, name="uploads", daemon=True).start()

    def stop(self) -> None:
        """End the thread of the test."""
        self._stop.set()

    def _probe(self) -> None:
        while not self._stop.is_set():
            try:
                self.on = self._cloud.uploads.works()
                log.info(
                    "uploads straight to the bucket are %s", "on" if self.on else "off: the store is not fit for it"
                )
                return
            except Exception as error:
                log.debug("uploads straight to the bucket are off for now: %s", error)
                self._stop.wait(PROBE_PAUSE_SECONDS)

    def form(self, job: Job) -> UploadForm:
        """The form for one photo. Raises Problem (409) when direct uploads are off."""
        if not self.on:
            raise Problem(409, OFF)
        return self._cloud.uploads.form(job.key, self._most_bytes, FORM_SECONDS)

    def confirm(self, jobs: Sequence[Job]) -> list[Arrival]:
        """Queue the photos that arrived. It is safe to repeat. May raise Retryable."""
        found = list(self._workers.map(self._look, jobs))
        fresh = [arrival.job for arrival, answered in found if arrival.status == "accepted" and not answered]
        for job in fresh:
            self._hub.added(job)  # before its result can arrive
        self._venue.again(fresh)
        return [arrival for arrival, _ in found]

    def _look(self, job: Job) -> tuple[Arrival, bool]:
        """The state of the photo, and whether it has a result already."""
        stored = _exactly(self._cloud.inputs, job.key)
        if stored is None:
            return Arrival(job, "missing", "the photo is not in the bucket: send it again"), False
        if 0 < stored.size <= self._most_bytes:
            return Arrival(job, "accepted"), _exactly(self._cloud.outputs, job.key) is not None
        error = too_large(stored.size, self._most_bytes)
        result = Result.failed(job.key, error if stored.size else "the file is empty")
        self._cloud.outputs.put(job.key, result.to_json().encode(), "application/json")
        self._cloud.inputs.delete(job.key)
        self._hub.publish([result])
        return Arrival(job, "failed", result.error), True


def _exactly(store: ObjectStore, key: str) -> StoredObject | None:
    found = next(iter(store.list(key)), None)
    return found if found is not None and found.key == key else None
