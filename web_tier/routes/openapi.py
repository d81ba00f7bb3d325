"""The description of the API for programs: an OpenAPI 3.1 document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shoal.settings import Settings

Schema = dict[str, Any]

BATCH_ID = {"type": "string", "pattern": "^[0-9a-hjkmnp-tv-z]{20}$", "examples": ["1m7yv8wnwyewm4djehxe"]}
COUNT = {"type": "integer", "minimum": 0}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
TEXT = {"type": "string"}
INDEX = {"type": "integer", "minimum": 0, "maximum": 99_999}
NAME = {"type": "string", "maxLength": 1_000}
WEBHOOK = TEXT | {
    "maxLength": 2_048,
    "description": "Public http or https address to post the batch's summary to when every photo has its result.",
}


def document(models: Sequence[str], settings: Settings) -> Schema:
    """The document for a server that serves `models`, the default first."""
    told: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Shoal",
            "version": "1",
            "summary": "Labels photos with a pool of machines that grows and shrinks with the work.",
            "description": "Submit photos as a batch; wait for the labels, or come back for them. A batch has no "
            "password: whoever knows its id can see it.",
        },
        "servers": [{"url": "/"}],
        "paths": _paths(models, settings),
        "components": {"schemas": _schemas(models), "responses": _problems()},
    }
    if settings.webhook_keys:
        told["webhooks"] = {"batchDone": {"post": _webhook()}}
        told["components"]["schemas"] |= {"Event": _event()}
        told["components"]["schemas"]["Submission"]["properties"]["webhook"] = WEBHOOK
    return told


def _webhook() -> Schema:
    names = {
        "webhook-id": "The same each time that this event is delivered.",
        "webhook-timestamp": "When it is sent, in seconds since 1970.",
        "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`; "
        "several, divided by spaces, while the secret is changed.",
    }
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Event"}}}
    return {
        "operationId": "batchDone",
        "summary": "Every photo of a batch has its result",
        "description": "Posted to the submission's `webhook`, at least once, as standardwebhooks.com describes it.",
        "parameters": [
            {"name": name, "in": "header", "required": True, "schema": TEXT, "description": text}
            for name, text in names.items()
        ],
        "requestBody": {"required": True, "content": content},
        "responses": {"2XX": {"description": "Taken"}, "410": {"description": "Try no more"}},
    }


def _event() -> Schema:
    return _object(
        {
            "type": {"const": "batch.done"},
            "timestamp": {"type": "string", "format": "date-time"},
            "data": {"$ref": "#/components/schemas/Batch"},
        }
    )


def _paths(models: Sequence[str], settings: Settings) -> Schema:
    batch = {"name": "batch", "in": "path", "required": True, "schema": BATCH_ID, "description": "The batch's id."}
    index = {
        "name": "index",
        "in": "path",
        "required": True,
        "schema": {"type": "integer", "minimum": 0, "maximum": 99_999},
        "description": "The photo's place in the batch, from 0.",
    }
    return {
        "/v1/batches": {"post": _submit(models, settings)},
        "/v1/batches/{batch}": {"get": _operation("getBatch", "How far a batch is", "Batch", [batch])},
        "/v1/batches/{batch}/cancel": {
            "post": _operation(
                "cancelBatch",
                "Cancel what is not labelled yet",
                "Cancelled",
                [batch],
                "Each photo without a result is taken away and gets the failed result `cancelled`. One that a worker "
                "holds at this moment may be labelled all the same.",
            ),
        },
        "/v1/batches/{batch}/results": {
            "get": _operation(
                "getResults",
                "The photos of a batch with their results",
                "Results",
                [batch, *_paging()],
                status_400=True,
            )
        },
        "/v1/batches/{batch}/photos/{index}": {
            "get": _operation("getPhoto", "One photo with its result", "Photo", [batch, index])
        },
        "/v1/batches/{batch}/photos/confirm": {"post": _confirm(models, batch, settings)},
        "/v1/uploads": {"post": _uploads(models)},
        "/v1/models": {
            "get": _operation("getModels", "The models that a request may name", "Models", [], missing=False)
        },
        "/healthz": {"get": _operation("getHealth", "Whether the process is up", "Health", [], missing=False)},
        "/readyz": {
            "get": _operation("getReadiness", "Whether buckets and queues answer", "Health", [], missing=False)
            | {"responses": {"200": _json("Ready", "Health"), "503": _json("Not ready", "Health")}}
        },
    }


def _submit(models: Sequence[str], settings: Settings) -> Schema:
    longest = int(settings.answer_seconds)
    photos: Schema = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    return {
        "operationId": "submit",
        "summary": "Submit photos",
        "description": "Each photo is checked, stored and queued; one that cannot be labelled fails alone. The answer "
        "is 202 with the batch as it is, or, after `Prefer: wait=30`, 200 as soon as every photo is labelled.",
        "parameters": [
            {
                "name": "model",
                "in": "query",
                "schema": {"type": "string", "enum": list(models)},
                "description": "The model for a form; a JSON body names its own.",
            },
            {
                "name": "Prefer",
                "in": "header",
                "schema": {"type": "string", "examples": ["wait=30"]},
                "description": f"Seconds to wait for the labels, at most {longest} (RFC 7240).",
            },
            {
                "name": "Idempotency-Key",
                "in": "header",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,255}$"},
                "description": "A request that is sent again with the same key makes no second batch.",
            },
            *([{"name": "webhook", "in": "query", "schema": WEBHOOK}] if settings.webhook_keys else ()),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {
                    "schema": {"type": "object", "properties": {"inputFile": photos}, "required": ["inputFile"]}
                },
                "application/json": {"schema": {"$ref": "#/components/schemas/Submission"}},
            },
        },
        "responses": {
            "200": _json("Every photo has its result", "Submitted") | _links(),
            "202": _json("The photos are queued", "Submitted") | _links(),
            **{status: {"$ref": f"#/components/responses/{status}"} for status in ("400", "409", "413", "415", "503")},
        },
    }


def _uploads(models: Sequence[str]) -> Schema:
    photo = _object({"name": NAME, "index": INDEX}, ["name"])
    responses = {"201": _json("A form for each photo", "Uploads")}
    return {
        "operationId": "offerUploads",
        "summary": "Get forms to send photos straight to the bucket",
        "description": "For photos that are large, or many. POST to each upload's `url`, as multipart/form-data, its "
        "`fields`, then `Content-Type` (an image's), then the photo as `file`; then tell `confirmUploads`. Each form "
        "takes one photo, for `seconds`. 409: this server's store is not fit for it, send the photos as a form.",
        "requestBody": _body(_upload_list(models, photo) | {"batch": BATCH_ID}),
        "responses": responses | _told("400", "409", "413", "503"),
    }


def _confirm(models: Sequence[str], batch: Schema, settings: Settings) -> Schema:
    photo = _object({"name": NAME, "index": INDEX}, ["name", "index"])
    responses = {"200": _json("What became of each photo", "Arrivals")}
    return {
        "operationId": "confirmUploads",
        "summary": "Queue photos that were sent to the bucket",
        "description": "The same model, index and name as when the forms were asked for. Saying it twice does no harm. "
        "A webhook belongs to the last call: it waits for all photos that the batch has by then.",
        "parameters": [batch],
        "requestBody": _body(_upload_list(models, photo) | ({"webhook": WEBHOOK} if settings.webhook_keys else {})),
        "responses": responses | _told("400", "404", "413", "503"),
    }


def _upload_list(models: Sequence[str], photo: Schema) -> Schema:
    photos = {"type": "array", "minItems": 1, "maxItems": 1_000, "items": photo}
    return {"photos": photos, "model": {"type": "string", "enum": list(models)}}


def _body(properties: Schema) -> Schema:
    return {"required": True, "content": {"application/json": {"schema": _object(properties, ["photos"])}}}


def _told(*statuses: str) -> Schema:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _links() -> Schema:
    """What can be asked next of the batch that was made."""
    batch = {"batch": "$response.body#/batch"}
    links = {name: {"operationId": name, "parameters": batch} for name in ("getBatch", "getResults", "cancelBatch")}
    first = {"operationId": "getPhoto", "parameters": batch | {"index": "$response.body#/photos/0/index"}}
    return {"links": links | {"getPhoto": first}}


def _operation(
    name: str,
    summary: str,
    schema: str,
    parameters: list[Schema],
    description: str = "",
    missing: bool = True,
    status_400: bool = False,
) -> Schema:
    responses = {"200": _json(summary, schema)}
    statuses = ["400"] * status_400 + ["404"] * missing + ["503"]
    responses |= {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}
    operation: Schema = {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}
    return operation | ({"description": description} if description else {})


def _paging() -> list[Schema]:
    return [
        {
            "name": "after",
            "in": "query",
            "schema": {"type": "integer", "minimum": -1, "maximum": 99_999, "default": -1},
            "description": "Photos of a higher index than this.",
        },
        {
            "name": "limit",
            "in": "query",
            "schema": {"type": "integer", "minimum": 1, "maximum": 1_000, "default": 100},
            "description": "The most photos to answer with.",
        },
    ]


def _json(description: str, schema: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}


def _problems() -> Schema:
    told = {
        "400": "The request is malformed",
        "404": "There is no such thing",
        "409": "The Idempotency-Key was used for another request, or uploads to the bucket are off",
        "413": "Too large",
        "415": "Neither a form nor JSON",
        "503": "Store or queue do not answer, or the server stops; try again",
    }
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {status: {"description": text, "content": content} for status, text in told.items()}


def _schemas(models: Sequence[str]) -> Schema:
    photos = {"type": "array", "items": {"$ref": "#/components/schemas/Photo"}}
    name = {"type": "string", "maxLength": 1_000, "description": "File name; of an address, its last part."}
    return {
        "Submission": _object(
            {
                "model": {"type": "string", "enum": list(models), "default": models[0]},
                "photos": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 1_000,
                    "items": {
                        "oneOf": [
                            _object(
                                {"name": name, "data": _described("Base64 of the file") | {"minLength": 1}},
                                ["data"],
                                closed=True,
                            ),
                            _object(
                                {"name": name, "url": _described("Public http or https address") | {"minLength": 1}},
                                ["url"],
                                True,
                            ),
                        ]
                    },
                },
            },
            ["photos"],
        ),
        "Batch": _object(_batch()),
        "Submitted": _object(_batch() | {"photos": photos}),
        "Results": _object({"photos": photos, "next": {"type": ["string", "null"]}}),
        "Uploads": _object({"batch": BATCH_ID, "seconds": COUNT, "uploads": {"type": "array", "items": _upload()}}),
        "Arrivals": _object({"photos": {"type": "array", "items": _arrival()}}),
        "Photo": _object(_photo(), ["index", "name", "state"]),
        "Label": _object({"name": TEXT, "probability": SHARE}),
        "Cancelled": _object({"cancelled": COUNT}),
        "Models": _object(
            {"models": {"type": "array", "items": _object({"name": TEXT, "default": {"type": "boolean"}})}}
        ),
        "Health": _object({"status": TEXT, "checks": {"type": "object"}}, ["status"]),
        "Problem": _object({"type": TEXT, "title": TEXT, "status": {"type": "integer"}, "detail": TEXT}),
    }


def _batch() -> Schema:
    return {
        "batch": BATCH_ID,
        "state": {"enum": ["queued", "done"], "description": "done: every photo has its result"},
        "total": COUNT,
        "done": COUNT,
        "failed": COUNT,
        "queued": COUNT,
        "page": _described("The batch as a page"),
        "results": _described("The batch's results"),
    }


def _upload() -> Schema:
    fields = {"type": "object", "additionalProperties": TEXT}
    return _object({"index": COUNT, "name": TEXT, "url": TEXT, "fields": fields})


def _arrival() -> Schema:
    status = {"enum": ["accepted", "failed", "missing"], "description": "missing: it is not in the bucket"}
    return _object({"index": COUNT, "name": TEXT, "status": status, "error": _described("Why it was not accepted")})


def _photo() -> Schema:
    return {
        "index": COUNT,
        "name": TEXT,
        "state": {"enum": ["queued", "done", "failed"]},
        "model": _described("The model that labelled it"),
        "labels": {
            "type": "array",
            "maxItems": 5,
            "items": {"$ref": "#/components/schemas/Label"},
            "description": "The likeliest labels, best first.",
        },
        "detections": {"type": "array", "items": _detection(), "description": "What was found in it, best first."},
        "warnings": {"type": "array", "items": TEXT, "description": "Why the answer may be worth little."},
        "error": _described("Why it failed"),
        "can_retry": {"type": "boolean"},
        "seconds": {
            "type": "object",
            "additionalProperties": {"type": "number", "minimum": 0},
            "description": "Stage -> seconds spent there.",
        },
        "correction": _described("What a person says is in it, where the label is wrong"),
    }


def _detection() -> Schema:
    return {
        "type": "object",
        "required": ["name", "score", "box", "relative_box"],
        "properties": {
            "name": TEXT,
            "score": SHARE,
            "box": _box("integer", "Left, top, right, bottom in pixels of the upright picture."),
            "relative_box": _box("number", "The same as parts of its width and height."),
            "labels": {"type": "array", "items": {"$ref": "#/components/schemas/Label"}},
        },
    }


def _box(kind: str, text: str) -> Schema:
    return {"type": "array", "items": {"type": kind}, "minItems": 4, "maxItems": 4, "description": text}


def _object(properties: Schema, required: list[str] | None = None, closed: bool = False) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "required": required or list(properties)}
    return found | ({"additionalProperties": False} if closed else {})


def _described(text: str) -> Schema:
    return {"type": "string", "description": text}
