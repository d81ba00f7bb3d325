"""Says when a photo is too poor for an honest answer. How the limits were found is in docs/tasks.md."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.images import Opened

LEAST_SIDE = 64  # pixels
LEAST_BYTES = 2048
LEAST_CONTRAST = 4.0  # standard deviation, of 255
LEAST_SHARPNESS = 0.09  # see `sharpness`

_LINES = 20  # rows, and as many columns, are looked at: enough, and quick beside the opening of a photo
_PARTS = 112  # of the length of a line: the short distance of `sharpness`

TINY = "the photo is very small: a label for it is a guess"
UNIFORM = "the photo is nearly one colour: there is nothing to be seen in it"
BLURRED = "the photo is far too blurred: a label for it is a guess"


def warnings(opened: Opened, size_bytes: int) -> tuple[str, ...]:
    """What makes an answer for this photo worth little, in words for people; mostly nothing. size_bytes: of its
    file."""
    found = [TINY] if min(opened.size) < LEAST_SIDE or size_bytes < LEAST_BYTES else []
    height, width, _ = opened.pixels.shape
    green = opened.pixels[..., 1]  # most of what the eye takes for brightness, and ready to be used
    rows = green[:: max(1, height // _LINES)].astype(np.float32)
    columns = green[:, :: max(1, width // _LINES)].T.astype(np.float32)
    if _nearly_one_colour(rows, columns):
        found.append(UNIFORM)
    elif not found and sharpness(rows, columns) < LEAST_SHARPNESS:
        found.append(BLURRED)
    return tuple(found)


def sharpness(*many: NDArray[np.float32]) -> float:
    """How much of the difference between pixels far apart is there between near ones already, in [0, about 1]. Each of
    `many` is [lines, length].

    The mean square difference at a 112th of a line's length by the one at four times that: about 0.06 (a 16th) where
    everything is a slope, 0.15 and more where there are edges. Neither contrast nor size change it.
    """
    near = far = 0.0
    for lines in many:
        distance = max(1, round(lines.shape[1] / _PARTS))
        near += _difference(lines, distance)
        far += _difference(lines, 4 * distance)
    return near / far if far else 1.0


def _nearly_one_colour(*many: NDArray[np.float32]) -> bool:
    # Twice the variance is what pixels that have nothing to do with each other differ by: those half a line apart.
    return all(_difference(lines, lines.shape[1] // 2) < 2 * LEAST_CONTRAST**2 for lines in many)


def _difference(lines: NDArray[np.float32], distance: int) -> float:
    """The mean square difference of pixels at a distance in a line; 0 when the line is shorter."""
    apart = (lines[:, distance:] - lines[:, : -distance or None]).ravel()
    return float(apart @ apart) / apart.size if apart.size else 0.0
