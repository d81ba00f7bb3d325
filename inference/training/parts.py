"""Which image is learned from, which one decides when to stop, and which one is kept for the figures. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRAIN, VALIDATION, TEST = "train", "validation", "test"
PARTS = (TRAIN, VALIDATION, TEST)


def split(
    labels: NDArray[np.int64], given: Sequence[str], seed: int, validation: float, test: float
) -> dict[str, NDArray[np.int64]]:
    """Part -> indices of its images, ascending.

    labels:           class number of each image.
    given:            the part that an image belongs to already, empty when that is ours to say.
    validation, test: shares of every class, at least one image each; a part that is given to any image is taken from
                      no other.

    The same labels and seed give the same parts. An image is in one part alone.
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
