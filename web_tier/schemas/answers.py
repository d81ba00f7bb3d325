"""What the server answers: the JSON Schemas of responses and of webhook events, by name."""

from __future__ import annotations

from shoal.photo_record import COLUMNS, TOP, TOTAL, Column
from web_tier.schemas.requests import BATCH_ID, INDEX, TEXT, Schema, described, list_of, record

COUNT: Schema = {"type": "integer", "minimum": 0}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
DURATION: Schema = {"type": "number", "minimum": 0}


def reference(name: str) -> Schema:
    """Points to a schema of this file."""
    return {"$ref": f"#/components/schemas/{name}"}


def _box(kind: str, text: str) -> Schema:
    return list_of({"type": kind}, 4, 4) | {"description": text}


_BATCH = {
    "batch": BATCH_ID,
    "state": {
        "enum": ["queued", "done", "cancelled"],
        "description": "done: every photo has its result; cancelled: the same, and some were cancelled",
    },
    "total": COUNT,
    "done": COUNT,
    "failed": COUNT | {"description": "Photos that cannot be labelled; without the cancelled ones"},
    "cancelled": COUNT,
    "queued": COUNT,
    "page": described("The path of the batch's page"),
    "results": described("The path of the batch's results"),
}

_COST = record({"dollars": {"type": "number", "minimum": 0}, "words": TEXT, "settled": {"type": "boolean"}}) | {
    "type": ["object", "null"],
    "description": "The share of the batch in what the machines cost while it was labelled; null if it is unknown. "
    "Until it is settled it may fall: the ledger hears late what else was labelled meanwhile",
}

_LABEL = {
    "name": described("The class as Keras spells it, such as Egyptian_cat"),
    "readable": described("The name for people, such as Egyptian cat"),
    "probability": SHARE,
    "wordnet_id": described("The class's id in WordNet, where the model knows it"),
    "class_id": COUNT | {"description": "The number of the class in the model's list."},
}

_DETECTION = record(
    {
        "name": TEXT,
        "class_id": COUNT | {"description": "The number of the class in the model's list."},
        "score": SHARE,
        "box": _box("integer", "Left, top, right and bottom, in pixels of the upright picture."),
        "relative_box": _box("number", "The same as fractions of the picture's width and height."),
        "labels": list_of(reference("Label")),
    },
    ["name", "class_id", "score", "box", "relative_box"],
)


def _field(column: Column) -> Schema:
    """The schema of a column of `shoal.photo_record`."""
    return {"type": [column.kind, "null"], "description": column.help}


_PHOTO = {column.name: _field(column) for column in COLUMNS if not column.table_only} | {
    "name": TEXT,
    "batch": BATCH_ID,
    "index": INDEX,
    "state": {"enum": ["queued", "done", "failed", "cancelled"]},
    "labels": list_of(reference("Label"), at_most=TOP) | {"description": "The most probable labels, best first."},
    "warnings": list_of(TEXT) | {"description": "Reasons to doubt the labels."},
    "seconds": {
        "type": "object",
        "additionalProperties": DURATION,
        "description": "The seconds that each stage took, by the name of the stage.",
    },
    TOTAL: {"type": ["number", "null"], "minimum": 0, "description": "From the upload to the label: all stages."},
}

_PHOTO_SOMETIMES = {
    "detections": list_of(_DETECTION) | {"description": "The objects in the picture, best first."},
    "can_retry": {"type": "boolean"},
}

_UPLOAD = record(
    {"index": INDEX, "name": TEXT, "url": TEXT, "fields": {"type": "object", "additionalProperties": TEXT}}
)

_ARRIVAL = record(
    {
        "index": INDEX,
        "name": TEXT,
        "status": {"enum": ["accepted", "failed", "missing"], "description": "missing: not in the bucket"},
        "error": described("Why the photo was not accepted"),
    }
)

_TASK: Schema = {"type": ["string", "null"]}  # null for a model that only the workers have

ANSWERS: dict[str, Schema] = {
    "Batch": record(_BATCH | {"cost": _COST}, list(_BATCH)),
    "Submitted": record(_BATCH | {"photos": list_of(reference("Photo"))}),
    "Results": record({"photos": list_of(reference("Photo")), "next": {"type": ["string", "null"]}}),
    "Uploads": record({"batch": BATCH_ID, "seconds": COUNT, "uploads": list_of(_UPLOAD)}),
    "Arrivals": record({"photos": list_of(_ARRIVAL)}),
    "Photo": record(_PHOTO | _PHOTO_SOMETIMES, list(_PHOTO)),
    "Label": record(_LABEL, ["name", "readable", "probability"]),
    "Cancelled": record({"cancelled": COUNT, "labelled": COUNT}),
    "Retried": record({"retried": COUNT}),
    "Deleted": record({"batch": BATCH_ID, "photos": COUNT}),
    "Models": record({"models": list_of(record({"name": TEXT, "task": _TASK, "default": {"type": "boolean"}}))}),
    "Health": record({"status": TEXT, "checks": {"type": "object"}}, ["status"]),
    "Problem": record({"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT}),
}

EVENT = record(
    {
        "type": {"const": "batch.done"},
        "timestamp": {"type": "string", "format": "date-time"},
        "data": reference("Batch"),
    }
)
