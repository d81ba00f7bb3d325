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
from shoal.errors import NotFound, Permanent


def _work(text: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    asked = CutRequest(**json.loads(text))
    model = store.model(asked.model, Path(asked.cache))
    home = store.model_folder(model, Path(asked.cache), None)
    origin = store.ready(home / store.WEIGHTS)
    if origin is None:
        raise NotFound(f"{model.name} is not prepared: run `shoal models prepare {model.name}`")
    tell(say="starting TensorFlow")
    net = architecture.load(model, home / store.WEIGHTS)
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
