"""The tail of a net that looks at faces: the user's device found them, and their activations come in a packed message.

The boxes of the faces come with them, so the answer is that of the whole net. The faces themselves stay on the device.
"""

from __future__ import annotations

from inference.answer import Decoded
from inference.model import Model
from inference.split import packing
from inference.split.header import BadActivation
from inference.tasks import emotion

read = emotion.read


def decode(model: Model, payload: bytes, max_pixels: int) -> Decoded:  # noqa: ARG001 - a Task's signature
    """Unpack activations into the tail's input, float32 [faces, *model.cut.shape]. Raises BadActivation."""
    if model.cut is None:
        raise BadActivation(f"{model.name} is no tail")
    found = packing.unpack_parts(payload, model.cut)
    return Decoded(found.activations, found.size, (emotion.GUESS if found.boxes else emotion.NO_FACE,), found.boxes)
