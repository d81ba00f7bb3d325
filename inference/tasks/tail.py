"""The tail of a classifier: the user's device opened the photo, and its activation comes in a packed message."""

from __future__ import annotations

import numpy as np

from inference.answer import Decoded
from inference.model import Model
from inference.split import packing
from inference.split.header import BadActivation
from inference.tasks import classify

read = classify.read

_UNKNOWN = (0, 0)  # the device does not tell the size of the photo


def decode(model: Model, payload: bytes, max_pixels: int) -> Decoded:  # noqa: ARG001 - a Task's signature
    """Unpack an activation into one row of the tail's input, float32 [1, *model.cut.shape]. Raises BadActivation."""
    if model.cut is None:
        raise BadActivation(f"{model.name} is no tail")
    return Decoded(packing.unpack(payload, model.cut)[np.newaxis], _UNKNOWN)
