"""Emotion: the faces in a picture, each with the emotion that it seems to show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference import faces, images, quality
from inference.answer import Answer, Decoded
from inference.model import Model, labels
from inference.split.header import MOST_BOXES
from shoal.messages import Box, Detection, Label

SEEN_PIXELS = 640  # the long side of the picture that is searched for faces
MOST = MOST_BOXES  # faces in an answer, the largest first
MARGIN = 0.1  # on each side of a face, relative to its side

NO_FACE = "no face was found: a face has to look at the camera"
GUESS = "emotions are guesses: the model is right about two times in three"  # see inference.models.mini_xception


def decode(model: Model, payload: bytes, max_pixels: int) -> Decoded:
    """Turn each face of an image into a row of the model's input, RGB [faces, side, side, 3]. Raises BadImage."""
    opened = images.open_whole(payload, SEEN_PIXELS, max_pixels)
    found = faces.find(opened.pixels)[:MOST]
    picture = Image.fromarray(opened.pixels)
    rows = [_crop(picture, face, model.side) for face in found]
    tensor = np.stack(rows) if rows else np.empty((0, model.side, model.side, 3), dtype=np.uint8)
    warnings = (*quality.warnings(opened, len(payload)), GUESS if rows else NO_FACE)
    scale = opened.size[0] / picture.width
    boxes = tuple(_box(face, scale, opened.size) for face in found)
    return Decoded(tensor, opened.size, warnings, boxes)


def read(model: Model, outputs: Sequence[NDArray[np.float32]], decoded: Decoded) -> Answer:
    """The faces, largest first, each named by its most probable emotion, of probabilities [faces, emotions]."""
    names = labels(model.labels)
    rows = outputs[0] if outputs else ()
    found = [_detection(names, scores, box, decoded.size) for scores, box in zip(rows, decoded.boxes, strict=True)]
    return Answer(detections=tuple(found), warnings=decoded.warnings)


def _crop(picture: Image.Image, face: tuple[int, int, int], side: int) -> NDArray[np.uint8]:
    """A face with a margin; pixels outside the picture are black."""
    left, top, size = face
    margin = round(size * MARGIN)
    part = picture.crop((left - margin, top - margin, left + size + margin, top + size + margin))
    return np.asarray(part.resize((side, side), Image.Resampling.BILINEAR))


def _box(face: tuple[int, int, int], scale: float, size: tuple[int, int]) -> Box:
    left, top, side = face
    right, bottom = min(size[0], round((left + side) * scale)), min(size[1], round((top + side) * scale))
    return round(left * scale), round(top * scale), right, bottom


def _detection(
    names: Sequence[tuple[str, str]], scores: NDArray[np.float32], box: Box, size: tuple[int, int]
) -> Detection:
    order = np.argsort(-scores, kind="stable")
    emotions = tuple(Label(names[index][1], "", round(float(scores[index]), 6), int(index)) for index in order)
    left, top, right, bottom = box
    width, height = size
    relative = (round(left / width, 5), round(top / height, 5), round(right / width, 5), round(bottom / height, 5))
    return Detection(emotions[0].name, int(names[order[0]][0]), emotions[0].probability, box, relative, emotions)
