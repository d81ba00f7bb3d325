"""A random sample of a source's photos, without holding all of them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from functools import cached_property

from runs.manifest import BulkPhoto
from runs.sources import PhotoSource

DRAWN_FROM = 200_000  # photos at most, and
DRAWING_SECONDS = 30.0  # at most: of a larger source, the sample is of its beginning


class SampleSource:
    """So many photos of a source, in its order, each as likely as any other: a reservoir holds no more than these.

    The same source gives the same sample.

    fits:   whether a photo is one of those that are drawn from.
    seed:   another gives another sample.
    steady: seconds of a clock that only grows.
    """

    def __init__(
        self,
        source: PhotoSource,
        count: int,
        fits: Callable[[BulkPhoto], bool],
        seed: str = "",
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.source = source
        self._count = count
        self._fits = fits
        self._choice = random.Random(seed)
        self._steady = steady
        self.images = 0  # photos that it was drawn from
        self.size = 0  # their bytes
        self.more = False  # whether the source has others, which nobody looked at

    @cached_property
    def drawn(self) -> dict[str, BulkPhoto]:
        """The sample, by cursors. May raise Retryable."""
        places: list[tuple[int, str, BulkPhoto]] = []
        began = self._steady()
        for cursor, photo in self.source.entries(""):
            if self.images >= DRAWN_FROM or self._steady() - began > DRAWING_SECONDS:
                self.more = True
                break
            if not self._fits(photo):
                continue
            place = self._choice.randrange(self.images + 1)
            one = (self.images, cursor, photo)
            if len(places) < self._count:
                places.append(one)
            elif place < self._count:
                places[place] = one
            self.images += 1
            self.size += photo.size
        return {cursor: photo for _, cursor, photo in sorted(places)}

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `runs.sources.PhotoSource`."""
        waiting = bool(after)
        for cursor, photo in self.drawn.items():
            if not waiting:
                yield cursor, photo
            waiting = waiting and cursor != after
