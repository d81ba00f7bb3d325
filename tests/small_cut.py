"""A cut of MobileNetV2 that is made in a moment: a head that shrinks the picture, a tail that invents probabilities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import store
from inference.split.point import CutPoint, tail_name
from inference.store import Card

MODEL, CUT = "mobilenet_v2", "small"
TAIL = tail_name(MODEL, CUT)
SHAPE = (4, 4, 3)
POINT = CutPoint(MODEL, CUT, "0123456789abcdef", SHAPE)


def activation(seed: int = 1) -> NDArray[np.float32]:
    """What the head might have made of a photo."""
    return np.random.default_rng(seed).uniform(0, 255, SHAPE).astype(np.float32)


def make_small_cut(cache: Path) -> None:
    """Put the head and the tail into a cache folder, as `shoal split prepare` does with real ones."""
    import openvino
    from openvino import opset13 as ops

    picture = ops.parameter([-1, 224, 224, 3], np.uint8, name="picture")
    moved = ops.transpose(ops.convert(picture, "f32"), [0, 3, 1, 2])
    small = ops.avg_pool(moved, [56, 56], [0, 0], [0, 0], [56, 56], exclude_pad=True)
    _write(openvino.Model([ops.transpose(small, [0, 2, 3, 1])], [picture]), cache, store.HEAD)

    sent = ops.parameter([-1, *SHAPE], np.float32, name="activation")
    flat = ops.reshape(ops.divide(sent, np.float32(255)), [0, -1], special_zero=True)
    weights = np.random.default_rng(7).normal(0, 3, (int(np.prod(SHAPE)), 1000)).astype(np.float32)
    labels = ops.softmax(ops.matmul(flat, weights, False, False), 1)
    _write(openvino.Model([labels], [sent]), cache, store.TAIL)


def _write(net: Any, cache: Path, part: str) -> None:
    import openvino

    folder = store.part_folder(MODEL, CUT, part, cache) / "openvino"
    folder.mkdir(parents=True)
    openvino.save_model(net, folder / "model.xml", compress_to_fp16=False)
    POINT.write(folder)
    agreement = {"photos": 8, **{dtype: {"same_label": 8} for dtype in ("float32", "uint8", "uint4")}}
    card = Card(MODEL, "openvino", "a test", "none", "none", {}, {}, "2026-11-30T00:00:00Z", agreement)
    replace(card, files=store.describe(folder)).write(folder)
