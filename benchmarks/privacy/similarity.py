"""How alike two pictures are: PSNR and SSIM. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

RANGE = 255.0
WINDOW = 11  # pixels, and the deviation of the Gaussian in it, as Wang and others chose
DEVIATION = 1.5
_SMALL = ((0.01 * RANGE) ** 2, (0.03 * RANGE) ** 2)
_GREY = np.array([0.299, 0.587, 0.114])


def psnr(one: Picture, other: Picture) -> float:
    """The peak signal-to-noise ratio in decibels; infinite for equal pictures. Both have one shape."""
    error = float(np.mean((one.astype(np.float64) - other) ** 2))
    return math.inf if error == 0 else 10 * math.log10(RANGE**2 / error)


def ssim(one: Picture, other: Picture) -> float:
    """The structural similarity of the grey pictures, at most 1 (Wang and others 2004, IEEE TIP 13:600).

    one, other: RGB [height, width, 3], each side at least WINDOW.
    """
    a, b = (picture.astype(np.float64) @ _GREY for picture in (one, other))
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    first, second = _SMALL
    alike = (2 * mean_a * mean_b + first) * (2 * covariance + second)
    return float(np.mean(alike / ((mean_a**2 + mean_b**2 + first) * (variance_a + variance_b + second))))


def _blurred(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """The Gaussian mean of each window that lies within the picture."""
    places = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-(places**2) / (2 * DEVIATION**2))
    weights /= weights.sum()
    windows = np.lib.stride_tricks.sliding_window_view
    return np.asarray(windows(windows(grey, WINDOW, 0) @ weights, WINDOW, 1) @ weights)
