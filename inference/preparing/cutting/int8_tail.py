"""Makes the tail of a cut in 8-bit integers, where that agrees with float32 and is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference import engines
from inference.arithmetic import FLOAT32, INT8
from inference.engines import Engine, Loaded
from inference.model import Model
from inference.preparing import agreement
from inference.preparing import photos as photo_sources
from inference.preparing.cutting.request import AGREEING
from inference.split import packing
from inference.split.point import CutPoint

CALIBRATION_PHOTOS = 20
LEAST_PHOTOS = 60  # to judge on; none of them is one to calibrate on


def make(
    model: Model, engine: Engine, folders: Mapping[str, Path], point: CutPoint, photos: Sequence[Path], target: Path
) -> dict[str, Any]:
    """Write the tail in int8 into the empty folder `target`. Returns what was compared; `kept`: whether it is of use.

    folders: of head and tail in float32. Returns nothing where it is not tried: with few photos, or an engine without
    int8.
    """
    if INT8 not in engine.precisions() or len(photos) < CALIBRATION_PHOTOS + LEAST_PHOTOS:
        return {}
    calibration, held_out = (
        agreement.decoded(model, part) for part in photo_sources.divide(photos, CALIBRATION_PHOTOS)
    )
    if len(held_out) < LEAST_PHOTOS:  # few photos show what this net looks at
        return {}
    head, exact = (engine.load(model, folders[part]) for part in ("head", "tail"))
    rows = [_sent(head, one.tensor, point) for one in calibration]
    try:
        engine.quantize(model, folders["tail"], rows, target)
    except StopIteration:  # a tail without a convolution
        return {}
    coarse = engine.load(model, target, precision=INT8)
    same = 0
    for one in held_out:
        sent = _sent(head, one.tensor, point)[np.newaxis]
        same += int(coarse.infer(sent)[0].argmax() == exact.infer(sent)[0].argmax())
    rates = engines.images_per_second({FLOAT32: exact, INT8: coarse}, np.stack(rows))
    agrees = same >= AGREEING * len(held_out)
    return {
        "photos": len(held_out),
        "same_label": same,
        "images_per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "kept": agrees and rates[INT8] > rates[FLOAT32],
    }


def _sent(head: Loaded, picture: Any, point: CutPoint) -> packing.Numbers:
    """What arrives at the tail of a picture."""
    return packing.unpack(packing.pack(head.infer(picture)[0][0], point), point)
