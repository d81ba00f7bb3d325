"""The accuracy of a classifier on test images. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEW = 10  # test images of a class
NAMED = 5  # classes that a sentence names
_Z = 1.959964  # standard deviations around the mean that hold 95 % of a normal distribution


@dataclass(frozen=True, slots=True)
class OfClass:
    """The figures of one class.

    images:    the number of its test images.
    precision: the share of right answers among all answers with this class; None if there are none.
    recall:    the share of its images that got this class; None if it has no images.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of all classes.

    images:    the number of test images.
    accuracy:  the share of right answers; low and high are the ends of its 95 % confidence interval.
    confusion: [true class][predicted class] -> number of images.
    """

    images: int
    accuracy: float
    low: float
    high: float
    classes: tuple[OfClass, ...]
    confusion: tuple[tuple[int, ...], ...]


def too_few(found: Figures) -> str:
    """Which classes have so few test images that their figures say little, in a sentence; empty when there are none."""
    few = [f"{one.name} {one.images}" for one in found.classes if one.images < FEW]
    if not few:
        return ""
    named = ", ".join(few[:NAMED]) + (", ..." if len(few) > NAMED else "")
    return f"fewer than {FEW} test photos a class say little of how good the model is ({named}): add photos"


def measure(names: Sequence[str], true: NDArray[np.int64], said: NDArray[np.int64]) -> Figures:
    """Compare true and predicted class numbers [N], which index `names`. N is at least 1."""
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
    """The 95 % Wilson score interval of the share `right / images` (Wilson 1927, JASA 22:209)."""
    share, spread = right / images, _Z**2 / images
    middle = (share + spread / 2) / (1 + spread)
    half = _Z * math.sqrt(share * (1 - share) / images + spread / (4 * images)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
