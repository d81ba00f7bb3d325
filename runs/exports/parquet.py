"""A table as Parquet, with typed columns: a row for each photo, its labels and objects in lists. By pyarrow."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from runs.exports.results import ExportPhoto
from runs.exports.whole_file import whole_path
from shoal.errors import Permanent
from shoal.messages import Detection, Label

GROUP_BATCHES = 40  # of a row group, which is held in Arrow's small form: 20,000 rows, some MB
BATCH_ROWS = 500  # that are Python's objects at the same time


def write(photos: Iterable[ExportPhoto], out: Path) -> str:
    """Write a file; returns no remark. Failed photos are rows, too. What is not known is null.

    Raises Permanent where pyarrow is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:  # workers and the page are installed without it
        raise Permanent("Parquet needs the package pyarrow, which is not installed here; --to csv does not") from None
    schema = _schema(pyarrow)
    rows = (_row(one) for one in photos)
    batches = iter(lambda: list(islice(rows, BATCH_ROWS)), [])
    with whole_path(out) as part, parquet.ParquetWriter(part, schema, compression="zstd") as writer:
        while group := [pyarrow.RecordBatch.from_pylist(one, schema) for one in islice(batches, GROUP_BATCHES)]:
            writer.write_table(pyarrow.Table.from_batches(group, schema), GROUP_BATCHES * BATCH_ROWS)
    return ""


def _schema(pyarrow: Any) -> Any:
    text, count, share = pyarrow.string(), pyarrow.int32(), pyarrow.float64()
    label = pyarrow.struct({"name": text, "wordnet_id": text, "class_id": count, "probability": share})
    edges = dict.fromkeys(("left", "top", "right", "bottom"), count)
    found = pyarrow.struct({"name": text, "class_id": count, "score": share} | edges | {"labels": pyarrow.list_(label)})
    return pyarrow.schema(
        {
            "key": text,
            "address": text,
            "run": text,
            "etag": text,
            "size": pyarrow.int64(),
            "width": count,
            "height": count,
            "hash": text,
            "taken": pyarrow.timestamp("s"),
            "latitude": share,
            "longitude": share,
            "status": text,
            "label": text,
            "wordnet_id": text,
            "class_id": count,
            "probability": share,
            "labels": pyarrow.list_(label),
            "detections": pyarrow.list_(found),
            "warnings": pyarrow.list_(text),
            "error": text,
            "model": text,
            "model_version": text,
            "engine": text,
            "arithmetic": text,
        }
    )


def _row(photo: ExportPhoto) -> dict[str, Any]:
    entry, result, picture = photo.row.entry, photo.row.result, photo.row.picture
    labels = [_label(one) for one in result.labels]
    detections = [_detection(one) for one in result.detections]
    return {
        "key": entry.key,
        "address": photo.address,
        "run": photo.run,
        "etag": entry.etag or None,
        "size": entry.size,
        "width": picture.width or None,
        "height": picture.height or None,
        "hash": picture.hash or None,
        "taken": datetime.fromisoformat(picture.taken) if picture.taken else None,
        "latitude": picture.latitude,
        "longitude": picture.longitude,
        "status": result.status,
        **_best(labels, detections),
        "labels": labels,
        "detections": detections,
        "warnings": list(result.warnings),
        **{name: getattr(result, name) or None for name in ("error", "model", "model_version", "engine", "arithmetic")},
    }


def _best(labels: list[dict[str, Any]], detections: list[dict[str, Any]]) -> dict[str, Any]:
    """The best label, or the surest object; nothing where nothing was found."""
    if labels:
        best = labels[0]
        return {"label": best["name"]} | {name: best[name] for name in ("wordnet_id", "class_id", "probability")}
    if detections:
        return {
            "label": detections[0]["name"],
            "class_id": detections[0]["class_id"],
            "probability": detections[0]["score"],
        }
    return {}


def _label(one: Label) -> dict[str, Any]:
    return {
        "name": one.name,
        "wordnet_id": one.wordnet_id or None,
        "class_id": one.class_id,
        "probability": one.probability,
    }


def _detection(one: Detection) -> dict[str, Any]:
    left, top, right, bottom = one.box
    return {
        "name": one.name,
        "class_id": one.class_id,
        "score": one.score,
        "left": left,
        "top": top,
        "right": right,
        "bottom": bottom,
        "labels": [_label(each) for each in one.labels],
    }
