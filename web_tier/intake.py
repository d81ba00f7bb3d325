"""How photos come in: read from the form one by one, checked, stored and queued, several at a time."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

from inference import images
from shoal.errors import BadImage
from shoal.messages import Job, Result, safe_name
from shoal.ports import ObjectStore
from shoal.settings import Settings
from web_tier.hub import Hub
from web_tier.multipart import Part, drain, read_parts
from web_tier.problems import Problem
from web_tier.venue import Submission, Venue

log = logging.getLogger(__name__)

FIELDS = ("inputFile", "myfile")
AT_ONCE = 6  # photos of one request that are on their way to the store: hides its latency, bounds memory and files
MOST_INDEX = 99_999  # five digits in an object key

NOTHING_CHOSEN = "No photo was chosen. Choose one or more photos first."
NO_FIELD = "There is no photo in this request. Send each as a file in the multipart field inputFile."
STOPPING = "The server is about to restart. Please try again in a moment."


@dataclass(frozen=True, slots=True)
class Taken:
    """A photo that came in; `error` says why it was refused and is empty when it was not."""

    job: Job
    error: str = ""


class Intake:
    """Takes the photos of a request in. One for all requests; safe for many threads."""

    def __init__(
        self, settings: Settings, venue: Venue, outputs: ObjectStore, hub: Hub, workers: ThreadPoolExecutor
    ) -> None:
        self._settings = settings
        self._venue = venue
        self._outputs = outputs
        self._hub = hub
        self._workers = workers

    def take(self, stream: IO[bytes], content_type: str, batch: str, first: int = 0) -> list[Taken]:
        """Store and queue every photo of the form in `stream`, as `batch`, counting from index `first`.

        A photo that cannot be labelled is refused alone, and its failed result stored. When this returns, every other
        one is stored and queued. Raises Problem for a form without photos, and Retryable when store or queue fail:
        then the same call may be made again, it writes the same objects.
        """
        submission = self._venue.open()
        running: deque[Future[Taken]] = deque()
        taken: list[Taken] = []
        try:
            for index, part in enumerate(self._photos(stream, content_type, first), first):
                job = Job(batch, index, safe_name(part.file_name or ""), self._settings.resp_queue)
                running.append(self._start(submission, job, part))
                if len(running) >= AT_ONCE:
                    taken.append(running.popleft().result())
            while running:
                taken.append(running.popleft().result())
        finally:
            # Also after an error: what is stored must be queued, and no thread may outlive the request.
            for future in running:
                future.exception()
            submission.flush()
        if not taken:
            raise Problem(400, NOTHING_CHOSEN)
        return taken

    def _no_more(self, index: int) -> Problem | None:
        if self._hub.stopping:
            return Problem(503, STOPPING)
        return Problem(413, "A batch has at most 100,000 photos.") if index > MOST_INDEX else None

    def _photos(self, stream: IO[bytes], content_type: str, first: int) -> Iterator[Part]:
        others: set[str] = set()
        found = False
        for count, part in enumerate(read_parts(stream, content_type, self._settings.max_file_bytes), first):
            if problem := self._no_more(count):
                part.close()
                drain(stream)
                raise problem
            if part.field not in FIELDS or part.file_name is None:
                others.add(part.field)
                part.close()
                continue
            found = True
            if not part.file_name and not part.size:
                part.close()  # what a browser sends when nothing was chosen
                continue
            yield part
        if not found:
            raise Problem(400, f"{NO_FIELD}{_seen(others)}")

    def _start(self, submission: Submission, job: Job, part: Part) -> Future[Taken]:
        try:
            return self._workers.submit(self._one, submission, job, part)
        except RuntimeError:  # the threads are being stopped
            part.close()
            raise Problem(503, STOPPING) from None

    def _one(self, submission: Submission, job: Job, part: Part) -> Taken:
        try:
            payload = self._checked(part)
        except BadImage as error:
            return self._refuse(job, str(error))
        finally:
            part.close()
        self._hub.added(job)  # before it can be answered
        submission.submit(job, payload)
        return Taken(job)

    def _checked(self, part: Part) -> bytes:
        if part.body is None:
            limit = self._settings.max_file_bytes
            raise BadImage(f"the file has {megabytes(part.size)}; at most {megabytes(limit)} are taken")
        images.inspect(part.body, self._settings.max_file_bytes, self._settings.max_pixels)
        part.body.seek(0)
        return part.body.read()

    def _refuse(self, job: Job, error: str) -> Taken:
        result = Result.failed(job.key, error)
        self._outputs.put(job.key, result.to_json().encode(), "application/json")
        self._hub.publish([result])
        log.info("refused photo %d of batch %s: %s", job.index, job.batch, error)
        return Taken(job, error)


def megabytes(size: int) -> str:
    """A file size for a person."""
    if size < 1024 * 1024:
        return f"{max(1, round(size / 1024))} KB" if size >= 1024 else f"{size} bytes"
    return f"{size / 1024 / 1024:.1f} MB".replace(".0 ", " ")


def _seen(fields: set[str]) -> str:
    names = ", ".join(sorted(name[:40] for name in fields if name)[:5])
    return f" (It has: {names}.)" if names else ""
