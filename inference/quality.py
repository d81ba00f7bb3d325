"""Warns if a photo is too poor for a reliable answer. docs/tasks.md has the measurements behind the limits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference.images import Opened

LEAST_SIDE = 64  # pixels
LEAST_BYTES = 2048
LEAST_CONTRAST = 4.0  # standard deviation, of 255
LEAST_SHARPNESS = 0.09  # see `sharpness`

_LINES = 20  # rows, and as many columns: enough for a decision, and fast
_PARTS = 112  # the short distance of `sharpness` is the length of a line divided by this

TINY = "the photo is very small: a label for it is a guess"
FEW_BYTES = "the photo's file is very small: it holds little detail, and a label for it is a guess"
UNIFORM = "the photo is nearly one colour: it shows nothing"
BLURRED = "the photo is far too blurred: a label for it is a guess"


def warnings(opened: Opened, size_bytes: int) -> tuple[str, ...]:
    """Reasons to distrust an answer for this photo, in words for people; mostly none.

    What is lost of the photo comes first. size_bytes: of its file.
    """
    height, width, _ = opened.pixels.shape
    green = opened.pixels[..., 1]  # most of what the eye takes for brightness, and ready to be used
    rows = green[:: max(1, height // _LINES)].astype(np.float32)
    columns = green[:, :: max(1, width // _LINES)].T.astype(np.float32)
    uniform = _nearly_one_colour(rows, columns)
    found = []
    if min(opened.size) < LEAST_SIDE:
        found.append(TINY)
    elif size_bytes < LEAST_BYTES and not uniform:  # a large picture of one colour has a small file, and is named so
        found.append(FEW_BYTES)
    if uniform:
        found.append(UNIFORM)
    elif not found and sharpness(rows, columns) < LEAST_SHARPNESS:
        found.append(BLURRED)
    return (*opened.warnings, *found)


def sharpness(*many: NDArray[np.float32]) -> float:
    """The sharpness of lines of pixels, in [0, about 1]. Each of `many` is [lines, length].

    It is the mean square difference of pixels at a distance of length / 112, divided by that at four times the
    distance: 1/16 for a pure gradient, 0.15 and more for edges. Contrast and size do not change it.
    """
    near = far = 0.0
    for lines in many:
        distance = max(1, round(lines.shape[1] / _PARTS))
        near += _difference(lines, distance)
        far += _difference(lines, 4 * distance)
    return near / far if far else 1.0


def _nearly_one_colour(*many: NDArray[np.float32]) -> bool:
    # Pixels half a line apart are unrelated: their mean square difference is twice the variance.
    return all(_difference(lines, lines.shape[1] // 2) < 2 * LEAST_CONTRAST**2 for lines in many)


def _difference(lines: NDArray[np.float32], distance: int) -> float:
    """The mean square difference of pixels at a distance in a line; 0 if the line is shorter."""
    apart = (lines[:, distance:] - lines[:, : -distance or None]).ravel()
    return float(apart @ apart) / apart.size if apart.size else 0.0
