"""Limits how many pixels are decoded at once: photos are small on the wire and large in memory."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from inference import images
from shoal.errors import BadImage


class PixelBudget:
    """A budget of pixels, shared by the threads that decode. A photo larger than the budget is decoded alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait for `pixels` of the budget and keep them for the length of the block."""
        pixels = min(pixels, self._pixels)
        with self._changed:
            self._changed.wait_for(lambda: self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


def pixels_in(payload: bytes) -> int:
    """The pixels that an image's header claims; 0 when it is no image."""
    try:
        info = images.inspect(io.BytesIO(payload), sys.maxsize, sys.maxsize)
    except BadImage:
        return 0
    return info.width * info.height
