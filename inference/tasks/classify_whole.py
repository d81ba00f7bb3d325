"""Classification of whole pictures, not of their centre: datasets of small pictures have no margin to crop."""

from __future__ import annotations

import numpy as np

from inference import images
from inference.answer import Decoded
from inference.model import Model
from inference.tasks import classify

read = classify.read


def decode(model: Model, payload: bytes, max_pixels: int) -> Decoded:
    """Turn an image's bytes into one row of the model's input, RGB [1, side, side, 3]. Raises BadImage."""
    opened = images.open_squashed(payload, model.side, max_pixels)
    return Decoded(opened.pixels[np.newaxis], opened.size)
