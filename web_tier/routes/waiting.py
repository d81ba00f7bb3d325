"""Requests that wait for the labels of their photos."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from flask import request

from shoal.messages import Result
from web_tier.intake.offers import OfferedPhotos
from web_tier.problems import Problem
from web_tier.results.batches import Photo
from web_tier.results.hub import Listener
from web_tier.results.pace import Pace
from web_tier.services import begin_batch, services, take

WAKE_SECONDS = 1.0  # how often it checks whether the client has left


def labelled(offers: OfferedPhotos, seconds: float, keep_photos: bool = True) -> tuple[str, list[Photo]]:
    """Accept photos as a new batch and wait up to `seconds`. Returns the batch and the state of its photos.

    keep_photos: as in `web_tier.services.take`.
    Raises what `Intake.take` and `answers` raise.
    """
    batch = begin_batch()
    with services().hub.listen(batch) as listener:
        photos = [taken.photo for taken in take(offers, batch, keep_photos=keep_photos)]
        found = answers(batch, photos, listener, seconds)
    return batch, [replace(photo, result=found.get(photo.job.key)) for photo in photos]


def answers(batch: str, photos: Sequence[Photo], listener: Listener, seconds: float) -> dict[str, Result]:
    """Wait until all photos have results, at most `seconds`. Returns the results so far, by key.

    Raises Problem: 503 when the server stops, 499 when the client has left.
    """
    results = {photo.job.key: photo.result for photo in photos if photo.result}
    results.update((result.key, result) for result in listener.take(0).results)  # of a venue that answers at once
    now, pace = time.monotonic(), Pace()
    deadline = now + seconds
    while len(results) < len(photos) and now < deadline:
        news = listener.take(min(WAKE_SECONDS, deadline - now))
        if news.stopping:
            raise Problem(503, f"The server is about to restart. The photos are safe: see {address(batch)}")
        if news.results:
            pace.heard()
        results.update((result.key, result) for result in news.results)
        if pace.due and len(results) < len(photos):
            found = services().batches.answers(batch, results)
            results.update((result.key, result) for result in found)
            pace.looked(bool(found))
        now = time.monotonic()
        if client_left():
            raise Problem(499, "the client has left")
    return results


def client_left() -> bool:
    """Whether the client has closed the connection."""
    left = request.environ.get("waitress.client_disconnected")
    return bool(left and left())


def address(batch: str) -> str:
    """The address of the batch's page."""
    return f"{request.host_url}batches/{batch}"
