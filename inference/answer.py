"""The values between a worker, the recogniser and a task: Decoded goes into an engine, Answer comes out of a task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.messages import Box, Detection, Label

Outputs = tuple[NDArray[np.float32], ...]
"""All outputs of a model, each [rows, ...]."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as a model's input.

    tensor:   [rows, ...], the engine's input. Most tasks make one row per image. A task that looks at parts of the
              image, such as faces, makes one row per part, and no row if it finds no part.
    size:     width and height of the upright picture in pixels.
    warnings: reasons to distrust the answer, in words for people.
    boxes:    the part of the upright picture that each row shows, in pixels; empty if each row shows all of it.
    """

    tensor: NDArray[Any]
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's answer for an image: labels or detections, best first, and reasons to distrust them."""

    labels: tuple[Label, ...] = ()
    detections: tuple[Detection, ...] = ()
    warnings: tuple[str, ...] = ()
