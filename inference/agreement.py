"""Checks what an engine computes against the stock Keras model, on real photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import images
from inference.architecture import preprocess
from inference.engines import Engine, Loaded
from inference.model import Model
from shoal.errors import Permanent

LIMIT = 1e-3  # of a probability, between two ways to compute the same in float32

_MANY = 1 << 40  # the photos are our own: no limit is needed


def measure(model: Model, net: Any, engine: Engine, folder: Path, photos: Sequence[Path]) -> dict[str, Any]:
    """Compare the engine's artefact in `folder` with the stock `net` and its stock preprocessing.

    Returns {"photos": how many, "float32": {"same_label": how many have the same best label, "max_difference": the
    largest difference of any probability}, "automatic": the same with the arithmetic that the engine chooses itself}.

    Raises Permanent when in float32 a best label differs, or a probability by more than LIMIT: then it is not the same
    model, and must not be used. What the automatic choice costs is recorded, not judged.
    """
    if not photos:
        raise Permanent("there are no photos to check the model with")
    batch = np.stack([images.open_square(photo.read_bytes(), model.side, _MANY) for photo in photos])
    expected = np.asarray(net.predict_on_batch(preprocess(model, batch.astype(np.float32))))
    found = {
        name: _compare(expected, _infer_each(engine.load(model, folder, exact=exact), batch))
        for name, exact in (("float32", True), ("automatic", False))
    }
    exact = found["float32"]
    if exact["same_label"] != len(photos) or exact["max_difference"] > LIMIT:
        raise Permanent(
            f"the converted {model.title} does not agree with Keras: {exact['same_label']} of {len(photos)} labels are "
            f"the same, probabilities differ by up to {exact['max_difference']:.2g}; it was not put in place"
        )
    return {"photos": len(photos), **found}


def _infer_each(loaded: Loaded, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
    """One by one and then all in one batch, of which the worse is what counts: both happen in a worker."""
    singles = np.concatenate([loaded.infer(image[np.newaxis]) for image in batch])
    return np.stack([singles, loaded.infer(batch)])


def _compare(expected: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, Any]:
    same = (found.argmax(axis=-1) == expected.argmax(axis=-1)).all(axis=0)
    return {"same_label": int(same.sum()), "max_difference": float(np.abs(found - expected).max())}
