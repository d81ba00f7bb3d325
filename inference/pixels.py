"""The pixel formats that models are trained on. They are made from RGB of 0 to 255."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pixels:
    """(x - mean) / scale, where x is RGB, or BGR, of 0 to 255. Mean and scale have the order of x's channels."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    bgr: bool = False


def _three(*values: float) -> NDArray[np.float32]:
    return np.array(values if len(values) == 3 else values * 3, np.float32)


# tf, torch and caffe are the names in keras.applications.imagenet_utils.preprocess_input.
PIXELS = {
    "raw": Pixels(_three(0), _three(1)),
    "unit": Pixels(_three(0), _three(255)),
    "tf": Pixels(_three(127.5), _three(127.5)),
    "torch": Pixels(255 * _three(0.485, 0.456, 0.406), 255 * _three(0.229, 0.224, 0.225)),
    "caffe": Pixels(_three(103.939, 116.779, 123.68), _three(1), bgr=True),
}
