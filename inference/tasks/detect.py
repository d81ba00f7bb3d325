"""Detection: the things in a picture, with their boxes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from inference import boxes, images, quality
from inference.answer import Answer, Decoded
from inference.model import Model, labels
from shoal.errors import Permanent
from shoal.messages import Detection

CANDIDATES = 200  # the best boxes, which are considered; rarely more than 50 are above the threshold
MOST = 100  # detections in a picture, as in COCO's evaluation


def decode(model: Model, payload: bytes, max_pixels: int) -> Decoded:
    """Turn the whole picture into one row of the model's input, RGB [1, side, side, 3]. Raises BadImage.

    Its proportions are not kept, as in the model's training.
    """
    opened = images.open_squashed(payload, model.side, max_pixels)
    return Decoded(opened.pixels[np.newaxis], opened.size, quality.warnings(opened, len(payload)))


def read(model: Model, outputs: Sequence[NDArray[np.float32]], decoded: Decoded) -> Answer:
    """The detections with a score of at least `model.threshold`, best first. There may be none."""
    candidates, scores = _candidates(model, outputs)
    rows, classes = np.nonzero(scores >= model.threshold)
    best = np.argsort(-scores[rows, classes], kind="stable")[:CANDIDATES]
    rows, classes = rows[best], classes[best]
    found = np.clip(candidates[rows], 0, 1)
    names = labels(model.labels)
    kept = boxes.suppress(found, scores[rows, classes], classes, model.overlap)
    things = [
        _detection(names[classes[index]], float(scores[rows[index], classes[index]]), found[index], decoded.size)
        for index in kept
        if names[classes[index]][1]
    ]
    return Answer(detections=tuple(things[:MOST]), warnings=decoded.warnings)


def _candidates(model: Model, outputs: Sequence[NDArray[np.float32]]) -> boxes.Scored:
    if model.boxes is None:
        raise Permanent(f"{model.name} has no `boxes`: its file must say how boxes are read from its outputs")
    return model.boxes(tuple(outputs))


def _detection(named: tuple[str, str], score: float, box: NDArray[np.float32], size: tuple[int, int]) -> Detection:
    left, top, right, bottom = (float(edge) for edge in box)
    width, height = size
    pixels = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    relative = (round(left, 5), round(top, 5), round(right, 5), round(bottom, 5))
    return Detection(named[1], int(named[0]), round(score, 6), pixels, relative)
