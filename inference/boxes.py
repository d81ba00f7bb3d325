"""Boxes of detectors: float32 [..., 4] as left, top, right, bottom, relative to the picture's width and height.

The anchors and their encoding are those of SSD (Liu et al. 2016, arXiv:1512.02325, section 2.2) as TensorFlow's object
detection library computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float32]

Scored = tuple[Boxes, NDArray[np.float32]]
"""Candidates for detections: boxes [N, 4], and the scores [N, classes] of each."""

_GRIDS = (19, 10, 5, 3, 2, 1)
_SMALLEST, _LARGEST = 0.2, 0.95
_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)  # width / height; the model was trained with 0.3333, not 1/3
_VARIANCES = np.array([10, 10, 5, 5], dtype=np.float32)


def from_anchors(outputs: Sequence[NDArray[np.float32]]) -> Scored:
    """Read SSD's output for a picture: [1, anchors, 4 + classes], box encodings and scores."""
    codes, scores = np.split(outputs[0][0], [4], axis=1)
    return decode(codes, anchors()), scores


@cache
def anchors() -> NDArray[np.float32]:
    """The 1,917 anchors, the boxes that the net's outputs are relative to: centre x, centre y, width, height."""
    scales = [*np.linspace(_SMALLEST, _LARGEST, len(_GRIDS)), 1.0]
    return np.concatenate([_grid(cells, _shapes(layer, scales)) for layer, cells in enumerate(_GRIDS)])


def _shapes(layer: int, scales: list[float]) -> NDArray[np.float64]:
    scale = scales[layer]
    if layer == 0:  # the finest grid has only three shapes
        pairs = [(0.1, 1.0), (scale, 2.0), (scale, 0.5)]
    else:
        pairs = [(scale, ratio) for ratio in _RATIOS] + [(np.sqrt(scale * scales[layer + 1]), 1.0)]
    return np.array([(size * np.sqrt(ratio), size / np.sqrt(ratio)) for size, ratio in pairs])


def _grid(cells: int, shapes: NDArray[np.float64]) -> NDArray[np.float32]:
    """One anchor of each shape at the centre of each cell, row by row."""
    middles = (np.arange(cells) + 0.5) / cells
    y, x, shape = np.meshgrid(middles, middles, np.arange(len(shapes)), indexing="ij")
    centres = np.stack([x, y], axis=-1).reshape(-1, 2)
    return np.concatenate([centres, shapes[shape.ravel()]], axis=1, dtype=np.float32)


def decode(codes: NDArray[np.float32], at: NDArray[np.float32]) -> Boxes:
    """Turn the net's box encodings [N, 4] (y, x, height, width) at the anchors [N, 4] into boxes.

    A box may reach beyond the edge of the picture.
    """
    y, x, height, width = (codes / _VARIANCES).T
    centre = np.stack([x, y], axis=1) * at[:, 2:] + at[:, :2]
    half = np.exp(np.stack([width, height], axis=1)) * at[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def overlaps(boxes: Boxes) -> NDArray[np.float32]:
    """Intersection over union of each pair of N boxes, [N, N]; 0 where the union is empty."""
    corner = np.maximum(boxes[:, np.newaxis, :2], boxes[np.newaxis, :, :2])
    opposite = np.minimum(boxes[:, np.newaxis, 2:], boxes[np.newaxis, :, 2:])
    shared = np.clip(opposite - corner, 0, None).prod(axis=-1)
    areas = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=-1)
    covered = areas[:, np.newaxis] + areas[np.newaxis, :] - shared
    share: NDArray[np.float32] = np.divide(shared, covered, out=np.zeros_like(shared), where=covered > 0)
    return share


def suppress(boxes: Boxes, scores: NDArray[np.float32], classes: NDArray[np.int64], most: float) -> NDArray[np.intp]:
    """Non-maximum suppression: the indices of the boxes to keep, best score first.

    A box is dropped if a kept box of its class has a better score and overlaps it by more than `most`. Of equal scores
    the box further left, then further up, counts as better, so the order of the input makes no difference.
    """
    order = np.lexsort((classes, *boxes.T[::-1], -scores))
    rivals = (overlaps(boxes[order]) > most) & (classes[order][:, np.newaxis] == classes[order])
    alive = np.ones(len(order), dtype=bool)
    for rank in range(len(order)):
        if alive[rank]:
            alive[rank + 1 :] &= ~rivals[rank, rank + 1 :]
    return order[alive]
