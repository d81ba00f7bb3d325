"""Splits images into those to train on, those to validate (when to stop) and those to test. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


def split(
    labels: NDArray[np.int64], given: Sequence[str], seed: int, validation: float, test: float
) -> dict[str, NDArray[np.int64]]:
    """Return {part: the indices of its images, ascending}.

    labels:           the class number of each image.
    given:            the part that the dataset gives to each image, or "".
    validation, test: shares of each class, at least one image each. If the dataset gives a part to any image, no other
                      image is moved into that part.

    The same labels and seed give the same parts. Each image is in exactly one part.
    """
    parts = np.array(given, dtype=object)
    shares = {name: share for name, share in ((TEST, test), (VALIDATION, validation)) if name not in set(given)}
    random = np.random.default_rng(seed)
    for label in np.unique(labels):
        free = random.permutation(np.flatnonzero((labels == label) & ((parts == "") | (parts == TRAIN))))
        sizes = [max(1, round(share * len(free))) for share in shares.values()]
        for name, taken in zip(shares, np.split(free, np.cumsum(sizes)), strict=False):
            parts[taken] = name
    parts[parts == ""] = TRAIN
    return {name: np.flatnonzero(parts == name) for name in PARTS}
