"""Tasks with predictions, as Label Studio imports them (labelstud.io/guide/predictions)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Any

from runs.exports.coco import size_of
from runs.exports.results import ExportPhoto
from runs.exports.whole_file import as_json, whole_file, write_joined
from runs.rows import BulkRow
from shoal.messages import Detection, Label

CHOICE, BOX, IMAGE = "choice", "box", "image"


def write(photos: Iterable[ExportPhoto], out: Path) -> str:
    """Write the tasks, and beside them the labelling interface that they need; returns a remark."""
    choices: set[str] = set()
    boxes: set[str] = set()
    with whole_file(out) as file:
        file.write("[")
        write_joined(file, _tasks(photos, choices, boxes))
        file.write("]\n")
    interface = out.with_name(f"{out.stem}-interface.xml")
    with whole_file(interface) as file:
        file.write(_interface(sorted(choices), sorted(boxes)))
    return f"; the labelling interface is {interface}"


def _tasks(photos: Iterable[ExportPhoto], choices: set[str], boxes: set[str]) -> Iterator[str]:
    for photo in photos:
        result = photo.row.result
        choices.update(one.name for one in result.labels)
        boxes.update(one.name for one in result.detections)
        data = {IMAGE: photo.address, "key": photo.row.entry.key}
        yield as_json({"data": data, "predictions": _predictions(photo.row)})


def _predictions(row: BulkRow) -> list[dict[str, Any]]:
    result = row.result
    if result.labels:
        regions, score = [_choice(result.labels[0])], result.labels[0].probability
    elif result.detections:
        size = size_of(row)
        regions = [_rectangle(number, one, size) for number, one in enumerate(result.detections)]
        score = max(one.score for one in result.detections)
    else:
        return []
    version = " ".join(filter(None, (result.model, result.model_version)))
    return [{"model_version": version, "score": score, "result": regions}]


def _choice(label: Label) -> dict[str, Any]:
    value = {"choices": [label.name]}
    return {"from_name": CHOICE, "to_name": IMAGE, "type": "choices", "value": value, "score": label.probability}


def _rectangle(number: int, found: Detection, size: tuple[int, int]) -> dict[str, Any]:
    """Places are in per cent of the picture."""
    left, top, right, bottom = (100 * one for one in found.relative_box)
    value = {"x": left, "y": top, "width": right - left, "height": bottom - top, "rotation": 0}
    return {
        "id": f"box-{number}",
        "from_name": BOX,
        "to_name": IMAGE,
        "type": "rectanglelabels",
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
        "value": value | {"rectanglelabels": [found.name]},
        "score": found.score,
    }


def _interface(choices: list[str], boxes: list[str]) -> str:
    lines = ["<View>", f'  <Image name="{IMAGE}" value="${IMAGE}"/>']
    if choices:
        lines.append(f'  <Choices name="{CHOICE}" toName="{IMAGE}" choice="single">')
        lines += [f'    <Choice value="{escape(name)}"/>' for name in choices]
        lines.append("  </Choices>")
    if boxes:
        lines.append(f'  <RectangleLabels name="{BOX}" toName="{IMAGE}">')
        lines += [f'    <Label value="{escape(name)}"/>' for name in boxes]
        lines.append("  </RectangleLabels>")
    return "\n".join([*lines, "</View>", ""])
