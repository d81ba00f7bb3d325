"""How good a classifier is on images that it has not seen. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964  # 95 % of a normal distribution lies within so many standard deviations


@dataclass(frozen=True, slots=True)
class OfClass:
    """One class: how many of its images there were, which share of them was found (recall), which share of the images
    that were called so are so (precision; None when none was)."""

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """images: how many were looked at; accuracy with the interval that holds the true one with 95 % confidence;
    confusion: [true class][class that was said] -> images."""

    images: int
    accuracy: float
    low: float
    high: float
    classes: tuple[OfClass, ...]
    confusion: tuple[tuple[int, ...], ...]


def measure(names: Sequence[str], true: NDArray[np.int64], said: NDArray[np.int64]) -> Figures:
    """The figures of at least one image, of class numbers [N] that index `names`."""
    confusion = np.zeros((len(names), len(names)), dtype=np.int64)
    np.add.at(confusion, (true, said), 1)
    right = int(confusion.trace())
    low, high = interval(right, len(true))
    classes = tuple(
        OfClass(
            name,
            int(confusion[number].sum()),
            _share(confusion[number, number], confusion[:, number].sum()),
            _share(confusion[number, number], confusion[number].sum()),
        )
        for number, name in enumerate(names)
    )
    return Figures(
        len(true), right / len(true), low, high, classes, tuple(tuple(int(n) for n in row) for row in confusion)
    )


def interval(right: int, images: int) -> tuple[float, float]:
    """The Wilson score interval, 95 %, of a share of `right` among `images` (Wilson 1927, JASA 22:209)."""
    share, spread = right / images, _Z**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / images + spread / (4 * images)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
