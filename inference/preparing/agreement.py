"""Compares an engine with the reference, and an arithmetic with float32, on real photos."""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference import tasks
from inference.answer import Answer, Decoded, Outputs
from inference.arithmetic import FLOAT32, Agreement
from inference.engines import Engine, Loaded
from inference.model import Model
from inference.preparing.architecture import outputs
from shoal.errors import Permanent

LIMIT = 1e-3  # the largest difference of a probability between two computations in float32

_MANY = 1 << 40  # pixels: our own photos need no limit


def measure(model: Model, reference: Any, engine: Engine, folder: Path, photos: Sequence[Path]) -> dict[str, Any]:
    """Compare the engine's artefact in `folder`, in float32, with `reference`, which `with_preprocessing` gave.

    A model that names its engine has no other program to be compared with: `reference` is None, and its answers in a
    batch are compared with those for single photos.

    Returns {"photos": their number, "float32": {"same_label": the number of photos with the same best label,
    "max_difference": the largest difference of a probability}, "reference": for people}.

    Raises Permanent if a best label differs, or a probability by more than LIMIT: then it is not the same model.
    """
    if not photos:
        raise Permanent("there are no photos to check the model with")
    opened = decoded(model, photos)
    loaded = engine.load(model, folder)
    expected = [loaded.infer(one.tensor) if reference is None else outputs(reference, one.tensor) for one in opened]
    exact = _compare(model, opened, expected, loaded)
    right = "the net without batches" if reference is None else "Keras"
    if exact["same_label"] != len(opened) or exact["max_difference"] > LIMIT:
        raise Permanent(
            f"the converted {model.title} does not agree with {right}: {exact['same_label']} of {len(opened)} answers "
            f"are the same, probabilities differ by up to {exact['max_difference']:.2g}; it was not put in place"
        )
    return {"photos": len(opened), "float32": exact, "reference": right}


def decoded(model: Model, photos: Sequence[Path]) -> list[Decoded]:
    """The photos as the model's input, without those in which its task finds nothing to look at, such as a face."""
    task = tasks.by_name(model.task)
    return [one for photo in photos if len((one := task.decode(model, photo.read_bytes(), _MANY)).tensor)]


def mirrored(opened: Sequence[Decoded]) -> list[Decoded]:
    """The mirror images of the photos."""
    return [replace(one, tensor=np.ascontiguousarray(one.tensor[:, :, ::-1])) for one in opened]


@dataclass(frozen=True, slots=True)
class ArithmeticsCompared:
    """What several arithmetics made of the same pictures.

    outputs:           arithmetic -> its outputs for each picture.
    agreement:         of each arithmetic except float32.
    images_per_second: arithmetic -> its fastest call; empty if there were fewer pictures than a call takes.
    """

    outputs: dict[str, list[Outputs]]
    agreement: dict[str, Agreement]
    images_per_second: dict[str, float]


def compare(model: Model, loaded: Mapping[str, Loaded], opened: Sequence[Decoded]) -> ArithmeticsCompared:
    """Compute the pictures in each arithmetic, and compare the best labels, or the detections, with those of float32.

    The arithmetics take turns, and the fastest call counts, because other work on the machine only slows them.
    """
    outputs, rates = _in_turns(loaded, opened)
    task = tasks.by_name(model.task)
    named = {
        arithmetic: [names(task.read(model, found, one)) for one, found in zip(opened, each, strict=True)]
        for arithmetic, each in outputs.items()
    }
    agreement = {
        arithmetic: Agreement(sum(map(operator.eq, each, named[FLOAT32])), len(opened))
        for arithmetic, each in named.items()
        if arithmetic != FLOAT32
    }
    return ArithmeticsCompared(outputs, agreement, rates)


def _in_turns(
    loaded: Mapping[str, Loaded], opened: Sequence[Decoded]
) -> tuple[dict[str, list[Outputs]], dict[str, float]]:
    """The outputs of each arithmetic for each picture, and its images/s in its fastest full batch, if there is any."""
    if not opened:
        return {name: [] for name in loaded}, {}
    rows = np.concatenate([one.tensor for one in opened])
    size = max(one.batch for one in loaded.values())
    parts: dict[str, list[Outputs]] = {name: [] for name in loaded}
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    for start in range(0, len(rows), size):
        for name, one in loaded.items():
            began = time.perf_counter()
            parts[name].append(one.infer(rows[start : start + size]))
            if start + size <= len(rows):
                seconds[name].append(time.perf_counter() - began)
    whole = {name: tuple(map(np.concatenate, zip(*each, strict=True))) for name, each in parts.items()}
    rates = {name: size / min(each) for name, each in seconds.items() if each}
    return {name: _split(found, opened) for name, found in whole.items()}, rates


def _compare(model: Model, opened: list[Decoded], expected: list[Outputs], loaded: Loaded) -> dict[str, Any]:
    """Compare the photos one by one and in one batch, as in a worker, and return the worse result."""
    task = tasks.by_name(model.task)
    alone = [loaded.infer(one.tensor) for one in opened]
    together = _split(loaded.infer(np.concatenate([one.tensor for one in opened])), opened)
    same = sum(
        names(task.read(model, a, one)) == names(task.read(model, b, one)) == names(task.read(model, right, one))
        for one, a, b, right in zip(opened, alone, together, expected, strict=True)
    )
    pairs = [pair for found in (alone, together) for pair in zip(found, expected, strict=True)]
    difference = max(float(np.abs(x - y).max()) for found, right in pairs for x, y in zip(found, right, strict=True))
    return {"same_label": same, "max_difference": difference}


def _split(found: Outputs, opened: Sequence[Decoded]) -> list[Outputs]:
    ends = np.cumsum([len(one.tensor) for one in opened])[:-1]
    return list(zip(*(np.split(output, ends) for output in found), strict=True))


def names(answer: Answer) -> list[str]:
    """The best class, also where the answer is that the photo shows none of the classes; and all detections."""
    classes = [label.name for label in answer.labels if label.class_id is not None]
    return classes[:1] + [found.name for found in answer.detections]
