"""Classification: the five most probable labels of an image, or that it shows none of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference import images, quality
from inference.answer import Answer, Decoded
from inference.model import Model, labels
from shoal.messages import Label

TOP = 5
NONE = "none_of_these"


def decode(model: Model, payload: bytes, max_pixels: int) -> Decoded:
    """Turn an image's bytes into one row of the model's input, RGB [1, side, side, 3]. Raises BadImage."""
    opened = images.open_square(payload, model.side, max_pixels)
    return Decoded(opened.pixels[np.newaxis], opened.size, quality.warnings(opened, len(payload)))


def read(model: Model, outputs: Sequence[NDArray[np.float32]], decoded: Decoded) -> Answer:
    """The five most probable labels, best first, of probabilities [1, classes]; equal ones in class order.

    If the best has less than `model.none_below`, NONE comes before them, with 1 minus the probability of the best: the
    score of Hendrycks and Gimpel 2017 (arXiv:1610.02136).
    """
    scores = outputs[0][0]
    names = labels(model.labels)
    best = np.argsort(-scores, kind="stable")[:TOP]
    found = tuple(Label(names[index][1], names[index][0], round(float(scores[index]), 6), int(index)) for index in best)
    if found[0].probability < model.none_below:
        found = (Label(NONE, "", round(1 - found[0].probability, 6)), *found)
    return Answer(found, warnings=decoded.warnings)
