"""What is told of a photo and its result: the columns of every CSV and JSON, declared once. Pure.

The API, the files of a batch's page and `shoal classify` have the same columns. In JSON a photo is an object, and its
objects in the picture are a list; in CSV each object in the picture has a row of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shoal.messages import CANCELLED, Detection, Job, Label, Result, readable

TOP = 5  # labels of a photo that are told
QUEUED = "queued"
TOTAL = "total_seconds"
"""The field in JSON that is the column `seconds` of the CSV."""
FLEETING = ("store", "publish")
"""Stages that only a response message knows: told, they would be gone when the stored result is read."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the CSV, and a field in JSON unless `table_only`. kind: its type in JSON Schema, or "" for a list."""

    name: str
    help: str
    kind: str = "string"
    table_only: bool = False


COLUMNS = (
    Column("path", "The file on the sender's disk; only the command knows it", table_only=True),
    Column("name", "The file name"),
    Column("batch", "The id of the batch"),
    Column("index", "The position in the batch, from 0", "integer"),
    Column("state", "queued, done, failed or cancelled"),
    Column("label", "The best label, or the surest object in the picture, as the model spells it"),
    Column("readable", "The label for people"),
    Column("wordnet_id", "The label's id in WordNet, where the model knows it"),
    Column("class_id", "The number of the class in the model's list", "integer"),
    Column("probability", "Of the label, from 0 to 1", "number"),
    Column("labels", "The most probable labels, best first; in CSV with their probabilities", ""),
    Column("score", "Of an object in the picture, from 0 to 1", "number", table_only=True),
    Column("left", "The left edge of the object, in pixels of the upright picture", "integer", table_only=True),
    Column("top", "Its top edge", "integer", table_only=True),
    Column("right", "Its right edge", "integer", table_only=True),
    Column("bottom", "Its bottom edge", "integer", table_only=True),
    Column("model", "The model that labelled the photo"),
    Column("model_version", "The checksum of the model's files"),
    Column("engine", "The program that ran the model"),
    Column("arithmetic", "In which it computed: float32, bfloat16 or int8"),
    Column("cached", "Whether a worker remembered the answer to the same bytes", "boolean"),
    Column("warnings", "Reasons to doubt the label", ""),
    Column("error", "Why the photo failed"),
    Column("correction", "The right label, from a person, where the model was wrong"),
    Column("seconds", "From the upload to the label; in JSON by stage, and `total_seconds` is their sum", ""),
)
NAMES = tuple(column.name for column in COLUMNS)


def record(job: Job, result: Result | None, correction: str = "") -> dict[str, Any]:
    """A photo as JSON types. result: None while it waits for its answer. What is not known is null."""
    done = result if result and result.status == "done" else None
    seconds = {stage: spent for stage, spent in result.seconds.items() if stage not in FLEETING} if result else {}
    told: dict[str, Any] = {
        "name": job.name,
        "batch": job.batch,
        "index": job.index,
        "state": _state(result),
        **_best(done),
        "labels": [_label(one) for one in done.labels[:TOP]] if done else [],
        **{name: getattr(done, name, None) or None for name in ("model", "model_version", "engine", "arithmetic")},
        "cached": done and done.cached,
        "warnings": list(result.warnings) if result else [],
        "error": result.error if result and not done else None,
        "correction": correction or None,
        "seconds": seconds,
        TOTAL: _total(seconds) if seconds else None,
    }
    if done and not done.labels:  # a picture in which nothing was found has an empty list
        told["detections"] = [_detection(one) for one in done.detections]
    return told


def _state(result: Result | None) -> str:
    if result is None:
        return QUEUED
    return CANCELLED if result.is_cancelled else result.status


def table_rows(photo: Mapping[str, Any], top: int = TOP, path: str = "") -> Iterator[tuple[str, ...]]:
    """The rows of a photo's record in a table of COLUMNS, as text. top: how many labels are told.

    A photo has a row; one in which several objects were detected has a row for each of them.
    """
    whole = dict(photo) | {
        "path": path,
        "labels": _labels_text(photo.get("labels", ())[:top]),
        "warnings": "; ".join(photo.get("warnings") or ()),
        "seconds": f"{_total(photo['seconds']):.4f}" if photo.get("seconds") else "",
    }
    objects: Sequence[Mapping[str, Any]] = photo.get("detections") or ({},)
    for found in objects:
        row = whole | _object(found)
        yield tuple(_text(row.get(name)) for name in NAMES)


def _object(found: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that an object in the picture fills."""
    if not found:
        return {}
    left, top, right, bottom = found["box"]
    return {
        "label": found["name"],
        "readable": readable(found["name"]),
        "class_id": found.get("class_id"),
        "probability": found["score"],
        "score": found["score"],
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "labels": _labels_text(found.get("labels", ())),
    }


def _total(seconds: Mapping[str, float]) -> float:
    return round(sum(seconds.values()), 4)


def _labels_text(labels: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(f"{one['name']} {one['probability']}" for one in labels)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _best(done: Result | None) -> dict[str, Any]:
    """The fields of the best label or the surest object in the picture."""
    if done and done.labels:
        best = done.labels[0]
        return _named(best.name, best.wordnet_id or None, best.class_id, best.probability)
    if done and done.detections:
        surest = done.detections[0]
        return _named(surest.name, None, surest.class_id, surest.score)
    return _named(None, None, None, None)


def _named(name: str | None, wordnet_id: str | None, class_id: int | None, probability: float | None) -> dict[str, Any]:
    return {
        "label": name,
        "readable": name and readable(name),
        "wordnet_id": wordnet_id,
        "class_id": class_id,
        "probability": probability,
    }


def _label(one: Label) -> dict[str, Any]:
    told = {"name": one.name, "readable": one.readable, "probability": one.probability}
    known = {"wordnet_id": one.wordnet_id or None, "class_id": one.class_id}
    return told | {field: value for field, value in known.items() if value is not None}


def _detection(found: Detection) -> dict[str, Any]:
    told = {
        "name": found.name,
        "class_id": found.class_id,
        "score": found.score,
        "box": found.box,
        "relative_box": found.relative_box,
    }
    return told | ({"labels": [_label(one) for one in found.labels[:TOP]]} if found.labels else {})
