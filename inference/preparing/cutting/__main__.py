"""The child process that cuts: `python -m inference.preparing.cutting <request>`. It alone imports TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from inference import store
from inference.preparing import agreement, architecture, subprocess_task
from inference.preparing.cutting import measure, pair
from inference.preparing.cutting.request import CutRequest
from shoal.errors import Permanent


def _work(text: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    asked = CutRequest(**json.loads(text))
    model = store.model(asked.model, Path(asked.cache))
    weights, origin = architecture.prepared_weights(model, Path(asked.cache))
    tell(say="starting TensorFlow")
    net = architecture.load(model, weights)
    if isinstance(net, Path):
        raise Permanent(f"{model.title} is no Keras net, so it cannot be cut")
    photos = [Path(photo) for photo in asked.photos]
    if asked.cut:
        return pair.make(model, net, origin, asked, photos, lambda words: tell(say=words))
    opened = agreement.decoded(model, photos)
    if not opened:
        raise Permanent(f"none of the {len(photos)} photos shows what {model.title} looks at")
    pictures = np.concatenate([one.tensor for one in opened])
    return {"cuts": measure.measure(model, net, pictures, lambda words: tell(say=words))}


if __name__ == "__main__":
    subprocess_task.answer(_work)
