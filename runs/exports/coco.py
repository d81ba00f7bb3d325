"""Detected objects in COCO's format (cocodataset.org/#format-results): images, annotations with scores, categories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from runs.exports.class_numbers import ClassNumbers
from runs.exports.results import ExportPhoto
from runs.exports.whole_file import as_json, whole_file, write_joined
from runs.rows import BulkRow

NOTHING = ": no objects were detected, which only models that detect do"


def write(photos: Iterable[ExportPhoto], out: Path) -> str:
    """Write a file; returns a remark. `file_name` is a photo's key."""
    numbers = ClassNumbers()
    # The images are written as they come; the annotations wait in a file of their own, as there may be millions.
    with whole_file(out) as file, tempfile.TemporaryFile("w+", encoding="utf-8") as waiting:
        file.write('{"images": [')
        write_joined(file, _images(photos, numbers, waiting))
        file.write('], "annotations": [')
        waiting.seek(0)
        write_joined(file, (line.rstrip("\n") for line in waiting))
        categories = [{"id": number, "name": name} for name, number in numbers.by_name.items()]
        file.write(f'], "categories": {as_json(sorted(categories, key=lambda one: str(one["name"])))}}}\n')
    return "" if numbers.by_name else NOTHING


def annotation(number: int, image: int, found: dict[str, Any]) -> dict[str, Any]:
    """A detected object. number: of the annotation; image: the id of its image."""
    left, top, right, bottom = found["box"]
    width, height = right - left, bottom - top
    return {
        "id": number,
        "image_id": image,
        "category_id": found["class_id"],
        "bbox": [left, top, width, height],
        "area": width * height,
        "iscrowd": 0,
        "score": found["score"],
    }


def size_of(row: BulkRow) -> tuple[int, int]:
    """Width and height of the picture; reckoned from the boxes in results of older workers, 0 without boxes."""
    known = row.picture
    return (known.width, known.height) if known.width else size_by_boxes(row.result.to_dict().get("detections", []))


def size_by_boxes(detections: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Nearly the width and height of their picture: boxes are whole pixels, so the farthest edge counts."""
    width = max(((found["relative_box"][2], found["box"][2]) for found in detections), default=(0, 0))
    height = max(((found["relative_box"][3], found["box"][3]) for found in detections), default=(0, 0))
    return _whole(*width), _whole(*height)


def _whole(share: float, pixels: int) -> int:
    return round(pixels / share) if share else 0


def _images(photos: Iterable[ExportPhoto], numbers: ClassNumbers, waiting: TextIO) -> Iterator[str]:
    count = 0
    for image, photo in enumerate(photos, 1):
        found = photo.row.result.to_dict().get("detections", [])
        for one in found:
            count += 1
            category = numbers.of(one["name"], one["class_id"])
            waiting.write(as_json(annotation(count, image, one | {"class_id": category})) + "\n")
        width, height = size_of(photo.row)
        name = photo.row.entry.key
        yield as_json({"id": image, "file_name": name, "width": width, "height": height, "coco_url": photo.address})
