"""Augmentation: altered copies of an image, called views."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# mirror: a random crop, mirrored in half of the cases (for photos). shift: moved by up to 1/8 of the side (He et al.
# 2015, section 4.2) and never mirrored (for digits and letters). none: unchanged.
KINDS = ("mirror", "shift", "none")

_SMALLEST = 0.7  # the side of the smallest crop, relative to that of the image
_FARTHEST = 1 / 8  # the largest move, relative to the side of the image


def view(kind: str, pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """A view of an image [side, side, 3], of the same shape."""
    if kind == "mirror":
        return _crop(pixels, random)
    return _shift(pixels, random) if kind == "shift" else pixels


def _crop(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    side = len(pixels)
    size = side * random.uniform(_SMALLEST, 1)
    left, top = random.uniform(0, side - size, 2)
    box = (left, top, left + size, top + size)
    found = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, box))
    return found[:, ::-1] if random.random() < 0.5 else found


def _shift(pixels: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    most = round(len(pixels) * _FARTHEST)
    right, down = random.integers(-most, most + 1, 2)
    positions = np.arange(len(pixels))
    # New pixels at an edge repeat the edge.
    rows, columns = (np.clip(positions - by, 0, len(pixels) - 1) for by in (down, right))
    moved: NDArray[np.uint8] = pixels[rows[:, np.newaxis], columns]
    return moved
