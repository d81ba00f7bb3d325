"""Classification: one image in, its five likeliest labels out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from inference import images
from inference.model import Model, labels
from shoal.messages import Label

TOP = 5


def decode(model: Model, payload: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """An image's bytes as the model's input, RGB [side, side, 3]. Raises BadImage."""
    return images.open_square(payload, model.side, max_pixels)


def read(model: Model, scores: NDArray[np.float32]) -> tuple[Label, ...]:
    """The five likeliest labels, best first, of probabilities [classes]; of equal ones the first in class order."""
    names = labels(model.labels)
    best = np.argsort(-scores, kind="stable")[:TOP]
    return tuple(Label(names[index][1], names[index][0], round(float(scores[index]), 6)) for index in best)
