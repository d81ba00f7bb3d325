"""Finds faces that look at the camera, with OpenCV's Haar cascades (Viola and Jones 2001).

The first cascade proposes faces, the second confirms them. Each alone also sees faces in leaves and headlamps
(docs/tasks.md).
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST = 32  # pixels, the side of a face: smaller faces give no useful answer
# Scale factor and minimum number of neighbours of each cascade, as OpenCV calls them.
_PROPOSE = (1.2, 2)
_CONFIRM = (1.1, 7)
_AROUND = 0.25  # the margin that the second cascade sees, relative to the side of the proposed face
_CLOSE_UP = 96  # pixels, the side of a proposed face as the second cascade sees it

_local = threading.local()


def find(pixels: NDArray[np.uint8]) -> list[tuple[int, int, int]]:
    """Find faces in an upright RGB picture [height, width, 3]: (left, top, side) of squares, largest first."""
    import cv2  # only this task needs it: workers of other tasks start without

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
    """The two cascades. Each thread has its own, because a cascade keeps state while it runs."""
    if not hasattr(_local, "cascades"):
        import cv2

        cv2.setNumThreads(1)  # the worker decodes photos on several threads already
        folder = Path(cv2.__file__).parent / "data"
        names = ("default", "alt2")
        _local.cascades = tuple(
            cv2.CascadeClassifier(str(folder / f"haarcascade_frontalface_{name}.xml")) for name in names
        )
    cascades: tuple[Any, Any] = _local.cascades
    return cascades
