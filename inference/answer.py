"""What passes between a worker, the recogniser and a task: Decoded goes into an engine, Answer is what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shoal.messages import Box, Detection, Label

Outputs = tuple[NDArray[np.float32], ...]  # of a model: each is [rows, ...]


@dataclass(frozen=True, slots=True)
class Decoded:
    """An image as a model's input.

    tensor:   [rows, ...] as the engine takes it. Most tasks make one row of an image; one that looks at parts of it
              (a face each) makes a row a part, or none at all when there is nothing to look at.
    size:     width and height of the upright picture in pixels.
    warnings: why the answer may be worth little, in words for people.
    boxes:    what part of the upright picture each row shows, in pixels; empty when the rows show all of it.
    """

    tensor: NDArray[Any]
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says of an image: labels or detections, best first, and why they may be worth little."""

    labels: tuple[Label, ...] = ()
    detections: tuple[Detection, ...] = ()
    warnings: tuple[str, ...] = ()
