"""What a run will take and cost, before it begins: its first photos are counted, by the measured rates."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from runs.costs import costs
from runs.manifest import BulkPhoto
from runs.records import ListingState
from runs.run import FIRST_SHARDS, Run
from runs.sources import PhotoSource, is_photo_of

COUNTED = 20_000  # keys that are counted before a run begins; of more, the person is told that there are more
COUNT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run will take: photos, their bytes, seconds of one worker, dollars.

    more: whether there are more photos than these.
    """

    images: int
    size: int
    more: bool
    seconds: float
    cost: float


def forecast(
    run: Run, source: PhotoSource, service: float, known: Callable[[BulkPhoto], bool] | None = None
) -> Forecast:
    """Look at the first photos. service: seconds of a worker for each. May raise what reading the source raises."""
    fits, began = is_photo_of(run), time.monotonic()
    images, size, seen = 0, 0, 0
    more = False
    for _, photo in islice(source.entries(""), COUNTED + 1):
        seen += 1
        if run.limit and images >= run.limit:
            break
        if seen > COUNTED or time.monotonic() - began > COUNT_SECONDS:
            more = True
            break
        if fits(photo) and not (known and known(photo)):
            images, size = images + 1, size + photo.size
    return reckoned(run, images, size, more, service, seen)


def reckoned(run: Run, images: int, size: int, more: bool, service: float, seen: int) -> Forecast:
    """What so many photos will take. service: seconds of a worker for each; seen: keys that are listed."""
    shards = min(images, FIRST_SHARDS) + images // run.shard_images
    cost = costs(run, ListingState(shards, images, size, seen), images * service)["total"]
    return Forecast(images, size, more, images * service, cost)
