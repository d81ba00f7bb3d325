"""What a client may send: JSON Schemas (draft 2020-12) of bodies, parameters and headers, and their limits.

`check.py` validates requests with these schemas, and `openapi.py` publishes the same objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.messages import BATCH_PATTERN
from web_tier.outside.addresses import MOST_CHARACTERS

Schema = dict[str, Any]

MOST_PHOTOS = 1_000  # in one JSON body
MOST_INDEX = 99_999  # five digits in an object key
MOST_NAME_CHARACTERS = 1_000


def described(text: str) -> Schema:
    """A string, and what it means."""
    return {"type": "string", "description": text}


def record(properties: Schema, required: Sequence[str] | None = None) -> Schema:
    """An object with `properties`, all of them required unless `required` names some."""
    names = list(properties) if required is None else list(required)
    return {"type": "object", "properties": properties, "required": names}


def list_of(items: Schema, at_least: int = 0, at_most: int | None = None) -> Schema:
    """An array of `items`, with limits on its length."""
    limits = {"minItems": at_least} if at_least else {}
    return {"type": "array", "items": items} | limits | ({} if at_most is None else {"maxItems": at_most})


ALONE: Schema = {"additionalProperties": False}
"""Added to a `record`: other fields are refused."""

TEXT: Schema = {"type": "string"}
BATCH_ID: Schema = {"type": "string", "pattern": BATCH_PATTERN, "examples": ["1m7yv8wnwyewm4djehxe"]}
INDEX: Schema = {"type": "integer", "minimum": 0, "maximum": MOST_INDEX}
NAME = described("The file name. For a photo by address, the default is the last part of the address.") | {
    "maxLength": MOST_NAME_CHARACTERS
}
MODEL = described("The name of a model. `GET /v1/models` lists them.")
WEBHOOK = described("A public http or https address. The summary of the finished batch is posted there.") | {
    "maxLength": MOST_CHARACTERS
}
IDEMPOTENCY_KEY = described("A request that is sent again with the same key does not make a second batch.") | {
    "pattern": "^[A-Za-z0-9_-]{1,255}$"
}

AFTER: Schema = {
    "type": "integer",
    "minimum": -1,
    "maximum": MOST_INDEX,
    "default": -1,
    "description": "List only photos with an index above this.",
}
LIMIT: Schema = {
    "type": "integer",
    "minimum": 1,
    "maximum": MOST_PHOTOS,
    "default": 100,
    "description": "The largest number of photos to return.",
}
FIRST = INDEX | {"default": 0}

_SUBMITTED_PHOTO: Schema = {
    "type": "object",
    "properties": {
        "name": NAME,
        "data": described("The file in base64.") | {"minLength": 1},
        "url": described("A public http or https address of the photo.") | {"minLength": 1},
    },
    "additionalProperties": False,
    "oneOf": [{"required": ["data"]}, {"required": ["url"]}],
}


def _photos(photo: Schema) -> Schema:
    return list_of(photo, 1, MOST_PHOTOS)


# A misspelt field would change nothing, and nobody would notice: each body has the fields here alone.
SUBMISSION = record({"model": MODEL, "webhook": WEBHOOK, "photos": _photos(_SUBMITTED_PHOTO)}, ["photos"]) | ALONE

UPLOADS = (
    record(
        {"batch": BATCH_ID, "model": MODEL, "photos": _photos(record({"name": NAME, "index": INDEX}, ["name"]))},
        ["photos"],
    )
    | ALONE
)

CONFIRMATION = (
    record({"model": MODEL, "webhook": WEBHOOK, "photos": _photos(record({"name": NAME, "index": INDEX}))}, ["photos"])
    | ALONE
)


def venue_for_server(venues: Sequence[str]) -> Schema:
    """Where the photos are labelled, of the venues that a request may name at one server."""
    return described("Where the photos are labelled; without it as the operator has chosen.") | {"enum": ["", *venues]}


def for_server(body: Schema, models: Sequence[str], webhooks: bool) -> Schema:
    """The schema of a body as one server publishes it: with the names of its models; without a webhook if it has none.

    The default model is the first.
    """
    properties = body["properties"] | {"model": MODEL | {"enum": list(models), "default": models[0]}}
    if not webhooks:
        properties.pop("webhook", None)
    return body | {"properties": properties}
