"""Detected objects as pictures with boxes, and as a file in COCO's format (cocodataset.org/#format-results)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from inference import model as models
from runs.exports.coco import NOTHING, annotation, size_by_boxes
from shoal import plugins
from shoal.errors import BadImage
from shoal.messages import readable
from shoal_cli._batches._counted import counted

COLOUR = "#ffd400"
WHOLE = 100_000  # pixels of the longest side: pictures are not made smaller
SMALL = 64  # to learn only the size of a picture


class Drawings:
    """Saves each picture in which objects were detected, with a box around each, in `folder`."""

    def __init__(self, folder: Path, max_pixels: int) -> None:
        self._folder = folder
        self._max_pixels = max_pixels
        self._count = 0
        self._unread = 0

    def add(self, photo: dict[str, Any], path: Path | None) -> None:
        """Draw the boxes of one photo, if it has any. path: its file."""
        if not photo.get("detections"):
            return
        try:
            picture = _drawn(_payload(path), photo["detections"], self._max_pixels)
        except (OSError, BadImage):
            self._unread += 1
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        stem = Path(photo["name"]).stem.encode()[:200].decode(errors="ignore")
        picture.save(self._folder / f"{photo['index']:05d}-{stem}.jpg", "JPEG", quality=90, subsampling=0)
        self._count += 1

    def told(self) -> str:
        """What was written, in a sentence."""
        gone = f"; {counted(self._unread, 'picture')} could not be read here" if self._unread else ""
        none = "" if self._count else NOTHING
        return f"{counted(self._count, 'picture')} with boxes in {self._folder}{gone}{'' if gone else none}"


def _payload(path: Path | None) -> bytes:
    if path is None:
        raise FileNotFoundError
    return path.read_bytes()


def _drawn(payload: bytes, detections: list[dict[str, Any]], max_pixels: int) -> Any:
    """The upright picture with boxes, a Pillow image. Raises BadImage."""
    from PIL import Image, ImageDraw

    from inference import images

    picture = Image.fromarray(images.open_whole(payload, WHOLE, max_pixels).pixels)
    draw = ImageDraw.Draw(picture)
    line = max(2, max(picture.size) // 300)
    for found in detections:
        left, top, right, bottom = found["box"]
        draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=COLOUR, width=line)
        words = f"{readable(found['name'])} {found['score']:.0%}"
        size = max(12, 6 * line)
        place = (left + 2 * line, top + line)
        draw.text(place, words, fill=COLOUR, font_size=size, stroke_width=2, stroke_fill="black")
    return picture


class CocoFile:
    """Collects detections, and writes them to `file` as COCO's JSON: images, annotations with scores, categories.

    The categories are all classes of the detectors of ours that were used, and what else was found.
    """

    def __init__(self, file: Path, max_pixels: int) -> None:
        self._file = file
        self._max_pixels = max_pixels
        self._images: list[dict[str, Any]] = []
        self._paths: dict[int, Path] = {}
        self._annotations: list[dict[str, Any]] = []
        self._models: set[str] = set()
        self._categories: dict[int, str] = {}

    def add(self, photo: dict[str, Any], path: Path | None) -> None:
        """Add one photo, if it is answered."""
        if photo["state"] != "done":
            return
        width, height = self._size(photo, path)
        image = photo["index"]
        self._models.add(photo.get("model") or "")
        if path:
            self._paths[image] = path.absolute()
        self._images.append({"id": image, "file_name": photo["name"], "width": width, "height": height})
        for found in photo.get("detections", ()):
            self._categories[found["class_id"]] = found["name"]
            self._annotations.append(annotation(len(self._annotations) + 1, image, found))

    def write(self) -> None:
        """Write the file. `file_name` is the path below the folder that all photos are in."""
        if self._paths:
            top = os.path.commonpath([path.parent for path in self._paths.values()])
            for image in self._images:
                if path := self._paths.get(image["id"]):
                    image["file_name"] = path.relative_to(top).as_posix()
        named: dict[int, str] = {}
        for model in sorted(self._models):
            named |= _classes(model)
        named |= self._categories
        categories = [{"id": number, "name": name} for number, name in sorted(named.items())]
        whole = {"images": self._images, "annotations": self._annotations, "categories": categories}
        self._file.write_text(json.dumps(whole, indent=1) + "\n")

    def told(self) -> str:
        """What was written, in a sentence."""
        objects, pictures = counted(len(self._annotations), "object"), counted(len(self._images), "picture")
        return f"{objects} of {pictures} in {self._file}{'' if self._annotations else NOTHING}"

    def _size(self, photo: dict[str, Any], path: Path | None) -> tuple[int, int]:
        """Width and height of the upright picture in pixels: of the file, else by its boxes, else 0."""
        from inference import images

        try:
            return images.open_whole(_payload(path), SMALL, self._max_pixels).size
        except (OSError, BadImage):
            return size_by_boxes(photo.get("detections", ()))


def _classes(name: str) -> dict[int, str]:
    """Number -> name of the classes of a detector in `inference/models`; empty for any other model."""
    if name not in plugins.available("inference.models"):
        return {}
    model = models.by_name(name)
    if model.task == "classify":
        return {}
    return {int(number): label for number, label in models.labels(model.labels) if label}
