"""How much may be unpacked at once: photos are small on the wire and large in memory."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from inference import images
from shoal.errors import BadImage


class PixelBudget:
    """A budget of pixels, shared by the threads that decode. One photo that is larger than all of it goes alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Hold `pixels` of it for the length of the block, waiting until they are free."""
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
    """How many pixels an image's header speaks of; 0 when it is none, which costs no room to find out."""
    try:
        info = images.inspect(io.BytesIO(payload), sys.maxsize, sys.maxsize)
    except BadImage:
        return 0
    return info.width * info.height
