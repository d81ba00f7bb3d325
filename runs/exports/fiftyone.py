"""A folder that FiftyOne loads in place: data.json says where the photos are, labels.json what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from runs.exports.results import ExportPhoto
from runs.exports.whole_file import as_json, whole_file, write_joined
from shoal.messages import Result


def write(photos: Iterable[ExportPhoto], out: Path) -> str:
    """Write the folder; returns a remark: as which type of dataset it is loaded."""
    kinds: set[str] = set()
    with whole_file(out / "labels.json") as labels, whole_file(out / "data.json") as data:
        labels.write('{"labels": {')
        data.write("{")
        write_joined(data, _entries(photos, labels, kinds))
        labels.write("\n}}\n")
        data.write("}\n")
    if len(kinds) > 1:
        return "; some models tell labels and some boxes, which FiftyOne loads from two exports: export each run"
    return f"; load it as fiftyone.types.FiftyOneImage{next(iter(kinds), 'Classification')}Dataset"


def _entries(photos: Iterable[ExportPhoto], labels: TextIO, kinds: set[str]) -> Iterator[str]:
    """The lines of data.json; writes those of labels.json. Numbers name the photos: a key may be no file name."""
    for number, photo in enumerate(photos):
        name = as_json(f"{number:09d}")
        labels.write(f"{',' if number else ''}\n{name}: {as_json(_target(photo.row.result, kinds))}")
        yield f"{name}: {as_json(photo.address)}"


def _target(result: Result, kinds: set[str]) -> Any:
    """A label, a list of objects, or None where nothing was found. Places are parts of the picture."""
    if result.labels:
        kinds.add("Classification")
        return {"label": result.labels[0].name, "confidence": result.labels[0].probability}
    if not result.detections:
        return None
    kinds.add("Detection")
    targets = []
    for one in result.detections:
        left, top, right, bottom = one.relative_box
        place = [left, top, right - left, bottom - top]
        targets.append({"label": one.name, "bounding_box": place, "confidence": one.score})
    return targets
