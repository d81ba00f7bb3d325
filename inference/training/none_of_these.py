"""Learns when a photo shows none of the classes: when the best class has a low probability. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TURNED_AWAY = 0.05
MOST_TURNED_AWAY = 0.5  # the largest share that may be chosen

_STEPS = 10_000  # rounding down leaves room for the last digits, which differ between sizes of batches
_ROUNDING = 1e-9  # 49 * (1 / 49) is less than 1


@dataclass(frozen=True, slots=True)
class NoneOfThese:
    """When a model answers "none of these", and how often it does so for test images, which are all of its classes.

    share:             of the images whose best class is right, the share that may get this answer; 0 for a model
                       without it.
    validated:         the number of validation images whose best class is right.
    below:             the threshold: an image whose best class is less probable gets the answer; 0 if none was learned.
    tested:            the number of test images.
    turned_away:       the number of test images that get the answer.
    turned_away_right: the number of those whose best class is right.
    """

    share: float
    validated: int
    below: float
    tested: int
    turned_away: int
    turned_away_right: int

    @property
    def words(self) -> str:
        """The threshold and its effect, or why there is none; empty where the user wants none."""
        if not self.share:
            return ""
        if not self.below:
            return (
                f"not learned: to turn away at most {self.share * 100:g}% takes {_needed(self.share)} validation "
                f"images with the right label, and there are {self.validated}; add photos, or raise --validation"
                f"{self._or_more}"
            )
        return (
            f"the answer if the best class has less than {self.below:.2%}; {self.turned_away} of {self.tested} test "
            f"images get it, and {self.turned_away_right} of those would have the right label"
        )

    @property
    def _or_more(self) -> str:
        enough = math.ceil(100 / (self.validated + 1) - _ROUNDING) / 100
        return f" or --none-of-these (to {enough:g})" if enough <= MOST_TURNED_AWAY else ""


def learn(
    validation: NDArray[np.float32], test: NDArray[np.float32], test_right: NDArray[np.bool_], share: float
) -> NoneOfThese:
    """Learn the threshold on validation images, and count what it does to test images.

    validation: the probability of the best class of each validation image whose best class is right.
    test:       the probability of the best class of each test image. test_right: whether that class is right.
    share:      see `NoneOfThese`.
    """
    below = threshold(validation, share)
    away = test < below
    return NoneOfThese(share, len(validation), below, len(test), int(away.sum()), int((away & test_right).sum()))


def threshold(right: NDArray[np.float32], share: float) -> float:
    """The threshold that turns away at most `share` of the images whose best class is right.

    right: the probability of the best class of each of N validation images whose best class is right.

    The threshold is the k-th smallest of them, k = floor((N + 1) share), rounded down to four digits. So the share
    holds for these images, and on average for new ones of the same kind (split conformal prediction: Papadopoulos et
    al. 2002, ECML, 345). It is 0 if k is 0, because then even the smallest would turn away more of the new ones.
    """
    rank = math.floor((len(right) + 1) * share + _ROUNDING)
    return math.floor(float(np.sort(right)[rank - 1]) * _STEPS) / _STEPS if rank else 0.0


def _needed(share: float) -> int:
    """The least number of images on which a threshold can be learned."""
    return math.ceil(1 / share - _ROUNDING) - 1
