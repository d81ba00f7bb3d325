"""A manifest of lines with `source-ref`, as SageMaker Ground Truth writes it and Rekognition Custom Labels takes it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from runs.exports.class_numbers import ClassNumbers
from runs.exports.coco import size_of
from runs.exports.results import ExportPhoto
from runs.exports.whole_file import as_json, whole_file
from runs.rows import BulkRow
from runs.run import S3
from shoal.errors import Permanent
from shoal.messages import batch_time

ATTRIBUTE = "shoal"


def write(photos: Iterable[ExportPhoto], out: Path) -> str:
    """Write a file; returns no remark. Raises Permanent for photos that are in no bucket."""
    numbers = ClassNumbers()
    with whole_file(out) as file:
        for photo in photos:
            if not photo.address.startswith(S3):
                raise Permanent("source-ref needs photos in a bucket: give --photos s3://BUCKET/PREFIX/")
            file.write(as_json({"source-ref": photo.address} | _labels(photo, numbers)) + "\n")
    return ""


def _labels(photo: ExportPhoto, numbers: ClassNumbers) -> dict[str, Any]:
    result = photo.row.result
    about = {
        "job-name": f"shoal/{photo.run}",
        "human-annotated": "no",
        "creation-date": datetime.fromtimestamp(batch_time(photo.run), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f"),
    }
    if result.labels:
        best = result.labels[0]
        told = {"class-name": best.name, "confidence": best.probability, "type": "groundtruth/image-classification"}
        return {ATTRIBUTE: numbers.of(best.name, best.class_id), f"{ATTRIBUTE}-metadata": told | about}
    if result.detections:
        return _objects(photo.row, about, numbers)
    return {}  # nothing was found: a line without labels is one that is still to be labelled


def _objects(row: BulkRow, about: dict[str, str], numbers: ClassNumbers) -> dict[str, Any]:
    width, height = size_of(row)
    annotations, classes = [], {}
    for one in row.result.detections:
        left, top, right, bottom = one.box
        number = numbers.of(one.name, one.class_id)
        classes[str(number)] = one.name
        place = {"left": left, "top": top, "width": right - left, "height": bottom - top}
        annotations.append({"class_id": number} | place)
    told = {
        "objects": [{"confidence": one.score} for one in row.result.detections],
        "class-map": classes,
        "type": "groundtruth/object-detection",
    }
    image_size = [{"width": width, "height": height, "depth": 3}]
    return {
        ATTRIBUTE: {"image_size": image_size, "annotations": annotations},
        f"{ATTRIBUTE}-metadata": told | about,
    }
