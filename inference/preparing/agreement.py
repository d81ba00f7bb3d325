"""Compares an engine with the reference, and an arithmetic with float32, on real photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from inference import tasks
from inference.answer import Answer, Decoded, Outputs
from inference.arithmetic import Agreement
from inference.engines import Engine, Loaded
from inference.model import Model
from inference.preparing.architecture import outputs
from shoal.errors import Permanent

LIMIT = 1e-3  # the largest difference of a probability between two computations in float32

_MANY = 1 << 40  # pixels: our own photos need no limit
_BATCH = 8  # rows


def measure(model: Model, reference: Any, engine: Engine, folder: Path, photos: Sequence[Path]) -> dict[str, Any]:
    """Compare the engine's artefact in `folder`, in float32, with `reference`, which `with_preprocessing` gave.

    Returns {"photos": their number, "float32": {"same_label": the number of photos with the same best label,
    "max_difference": the largest difference of a probability}}.

    Raises Permanent if a best label differs, or a probability by more than LIMIT: then it is not the same model.
    """
    if not photos:
        raise Permanent("there are no photos to check the model with")
    opened = decoded(model, photos)
    expected = [outputs(reference, one.tensor) for one in opened]
    exact = _compare(model, opened, expected, engine.load(model, folder))
    if exact["same_label"] != len(opened) or exact["max_difference"] > LIMIT:
        raise Permanent(
            f"the converted {model.title} does not agree with Keras: {exact['same_label']} of {len(opened)} labels are "
            f"the same, probabilities differ by up to {exact['max_difference']:.2g}; it was not put in place"
        )
    return {"photos": len(opened), "float32": exact}


def decoded(model: Model, photos: Sequence[Path]) -> list[Decoded]:
    """The photos as the model's input, without those in which its task finds nothing to look at, such as a face."""
    task = tasks.by_name(model.task)
    return [one for photo in photos if len((one := task.decode(model, photo.read_bytes(), _MANY)).tensor)]


def both_ways(opened: Sequence[Decoded]) -> list[Decoded]:
    """The photos, followed by their mirror images: twice as much is seen of an arithmetic."""
    return [*opened, *(replace(one, tensor=np.ascontiguousarray(one.tensor[:, :, ::-1])) for one in opened)]


def infer_all(loaded: Loaded, opened: Sequence[Decoded]) -> list[Outputs]:
    """The outputs for each photo, computed in batches."""
    if not opened:
        return []
    rows = np.concatenate([one.tensor for one in opened])
    parts = [loaded.infer(rows[at : at + _BATCH]) for at in range(0, len(rows), _BATCH)]
    return _split(tuple(np.concatenate(output) for output in zip(*parts, strict=True)), opened)


def with_float32(model: Model, opened: list[Decoded], exact: list[Outputs], found: list[Outputs]) -> Agreement:
    """For how many photos an arithmetic's best label, or its detections, are those of float32."""
    task = tasks.by_name(model.task)
    same = sum(
        _names(task.read(model, a, one)) == _names(task.read(model, b, one))
        for one, a, b in zip(opened, exact, found, strict=True)
    )
    return Agreement(same, len(opened))


def _compare(model: Model, opened: list[Decoded], expected: list[Outputs], loaded: Loaded) -> dict[str, Any]:
    """Compare the photos one by one and in one batch, as in a worker, and return the worse result."""
    task = tasks.by_name(model.task)
    alone = [loaded.infer(one.tensor) for one in opened]
    together = _split(loaded.infer(np.concatenate([one.tensor for one in opened])), opened)
    same = sum(
        _names(task.read(model, a, one)) == _names(task.read(model, b, one)) == _names(task.read(model, right, one))
        for one, a, b, right in zip(opened, alone, together, expected, strict=True)
    )
    pairs = [pair for found in (alone, together) for pair in zip(found, expected, strict=True)]
    difference = max(float(np.abs(x - y).max()) for found, right in pairs for x, y in zip(found, right, strict=True))
    return {"same_label": same, "max_difference": difference}


def _split(found: Outputs, opened: Sequence[Decoded]) -> list[Outputs]:
    ends = np.cumsum([len(one.tensor) for one in opened])[:-1]
    return list(zip(*(np.split(output, ends) for output in found), strict=True))


def _names(answer: Answer) -> list[str]:
    return [label.name for label in answer.labels[:1]] + [found.name for found in answer.detections]
