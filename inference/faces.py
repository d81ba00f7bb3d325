"""Finds faces that look at the camera, with OpenCV's Haar cascades (Viola and Jones 2001).

One cascade proposes, another one has to agree: alone, either sees faces in foliage and headlamps (docs/tasks.md).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 32  # pixels of a face's side: a smaller one is worth no guess
# Of the first cascade and of the second: from one size of face to the next, and how many finds have to overlap.
_PROPOSE = (1.2, 2)
_CONFIRM = (1.1, 7)
_AROUND = 0.25  # of a proposed face's side, what the second cascade sees of its surroundings
_CLOSE_UP = 96  # pixels of the side of a proposed face when the second cascade sees it

_local = threading.local()


def find(pixels: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """The faces in an upright RGB picture [height, width, 3] as left, top and side of a square, largest first."""
    import cv2  # by the one task that needs it: a worker of another one starts without

    propose, confirm = _cascades()
    grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
    proposed = propose.detectMultiScale(grey, *_PROPOSE, minSize=(SMALLEST, SMALLEST))
    found = [(int(x), int(y), int(side)) for x, y, side, _ in proposed if _agrees(confirm, grey, x, y, side)]
    return sorted(found, key=lambda face: (-face[2], face))


def _agrees(confirm: Any, grey: NDArray[np.uint8], x: int, y: int, side: int) -> bool:
    import cv2

    margin = int(side * _AROUND)
    part = grey[max(0, y - margin) : y + side + margin, max(0, x - margin) : x + side + margin]
    scale = _CLOSE_UP / side
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    close_up = cv2.resize(part, None, fx=scale, fy=scale, interpolation=way)
    least = round(_CLOSE_UP * 0.6)
    return len(confirm.detectMultiScale(close_up, *_CONFIRM, minSize=(least, least))) > 0


def _cascades() -> tuple[Any, Any]:
    """The two cascades; each thread has its own, for they keep what they work on."""
    if not hasattr(_local, "cascades"):
        import cv2

        cv2.setNumThreads(1)  # photos are decoded on several threads as it is
        folder = Path(cv2.__file__).parent / "data"
        names = ("default", "alt2")
        _local.cascades = tuple(
            cv2.CascadeClassifier(str(folder / f"haarcascade_frontalface_{name}.xml")) for name in names
        )
    cascades: tuple[Any, Any] = _local.cascades
    return cascades
