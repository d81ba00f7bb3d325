"""The description of the API for programs: an OpenAPI 3.1 document.

`requests.py` has what a client may send, and `answers.py` has what the server answers. This file lists the operations.
"""

from __future__ import annotations

from collections.abc import Sequence

from shoal.settings import Settings
from web_tier.schemas.answers import ANSWERS, EVENT, reference
from web_tier.schemas.bodies import PHOTO_JSON_BYTES
from web_tier.schemas.requests import (
    AFTER,
    ALONE,
    BATCH_ID,
    CONFIRMATION,
    IDEMPOTENCY_KEY,
    INDEX,
    LIMIT,
    MODEL,
    SUBMISSION,
    TEXT,
    UPLOADS,
    WEBHOOK,
    Schema,
    described,
    for_server,
    record,
    venue_for_server,
)
from web_tier.schemas.runs import RUN, RUN_ANSWERS, RUN_EVENT, run_paths
from web_tier.schemas.secured import secured

REPLAYED = "Idempotent-Replayed"
"""The header of the answer to a request that repeats an idempotency key."""

_PROBLEMS = {
    "400": "The request is malformed",
    "401": "The request has no key, or one that does not exist (any more)",
    "403": "The venue, the source or the target is not allowed here, or the key has not the scope",
    "404": "There is no such batch, photo or run",
    "409": "The record of the Idempotency-Key cannot be read, direct uploads are off, or the run is finished",
    "413": "The request is too large",
    "415": "The body is neither a form nor JSON",
    "422": "The Idempotency-Key was used for another request",
    "501": "The venue is not prepared here",
    "503": "The storage or the queue does not answer, or the server is stopping; try again",
    "504": "The photo is not labelled yet; the text has the address of its batch",
    "507": "The storage is full. The text names the photos that were not kept; the same request may be sent again",
}


_OPEN = "A batch has no password: everybody who knows its id can see it."
_OWN = "A batch belongs to who made it; others see it with its share link alone."


def document(models: Sequence[str], venues: Sequence[str], settings: Settings) -> Schema:
    """The document for a server that serves `models`, the default first, and whose requests may name `venues`."""
    webhooks = bool(settings.webhook_keys)
    schemas = ANSWERS | RUN_ANSWERS | {"Event": EVENT, "RunEvent": RUN_EVENT}
    for name, body in (("Submission", SUBMISSION), ("RunRequest", RUN)):
        schemas[name] = for_server(body, models, webhooks)
    whole: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "Shoal",
            "version": "1",
            "summary": "Labels photos with a pool of machines that grows and shrinks with the work.",
            "description": "Submit photos as a batch; wait for the labels, or ask for them later. "
            + (_OWN if settings.signs_in else _OPEN),
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/v1/batches": {"post": _submit(models, venues, settings)},
            "/v1/label": {"post": _label(models, venues)},
            "/v1/uploads": {"post": _offer_uploads(models)},
            "/v1/batches/{batch}/photos/confirm": {"post": _confirm_uploads(models, webhooks)},
            **_reading(),
            **run_paths(_parameter("Idempotency-Key", "header", IDEMPOTENCY_KEY), _replayed()),
        },
        "webhooks": {
            "batchDone": {"post": _webhook("batchDone", "Every photo of a batch has its result", "Event", webhooks)},
            "runDone": {"post": _webhook("runDone", "A bulk run has ended", "RunEvent", webhooks)},
        },
        "components": {"schemas": schemas, "responses": _problem_responses()},
    }
    return secured(whole) if settings.signs_in else whole


# Operations


def _submit(models: Sequence[str], venues: Sequence[str], settings: Settings) -> Schema:
    photos = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1}
    prefer = {
        "type": "string",
        "description": f"Seconds to wait for the labels, at most {int(settings.answer_seconds)} (RFC 7240).",
        "examples": ["wait=30"],
    }
    model = MODEL | {"enum": list(models), "description": "The model for a form. A JSON body has its own field."}
    webhook = [_parameter("webhook", "query", WEBHOOK)] if settings.webhook_keys else []
    form = record({"inputFile": photos}) | ALONE
    return {
        "operationId": "submit",
        "summary": "Submit photos",
        "description": "Each photo is checked, stored and queued. A photo that cannot be labelled fails alone. The "
        "answer is 202 with the state of the batch. With `Prefer: wait=30` it is 200 as soon as every photo has its "
        f"result. A JSON body has at most {PHOTO_JSON_BYTES // 1024 // 1024} MB; a form has no limit.",
        "parameters": [
            _parameter("model", "query", model),
            _parameter("venue", "query", venue_for_server(venues)),
            _parameter("Prefer", "header", prefer),
            _parameter("Idempotency-Key", "header", IDEMPOTENCY_KEY),
            *webhook,
        ],
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/json": {"schema": reference("Submission")},
            },
        },
        "responses": {
            "200": _json("Every photo has its result", "Submitted") | _links() | _replayed(),
            "202": _json("The photos are queued", "Submitted") | _links() | _replayed(),
            **_problem_references("400", "403", "404", "409", "413", "415", "422", "501", "503", "507"),
        },
    }


def _replayed() -> Schema:
    told = "`true` when an earlier request with the same Idempotency-Key made this; missing otherwise."
    return {"headers": {REPLAYED: {"schema": {"enum": ["true"]}, "description": told}}}


def _label(models: Sequence[str], venues: Sequence[str]) -> Schema:
    answered = {
        "200": _json("The photo is labelled", "Photo"),
        "422": _json("The photo cannot be labelled: `error` says why", "Photo"),
    }
    return {
        "operationId": "label",
        "summary": "Label one photo",
        "description": "The body is the photo. The answer is its result. 503: too many photos wait, send it again "
        "after `Retry-After` seconds.",
        "parameters": [
            _parameter("name", "query", described("The file name. A long one is shortened.")),
            _parameter("model", "query", MODEL | {"enum": ["", *models]}),  # an empty one is none
            _parameter("venue", "query", venue_for_server(venues)),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary", "minLength": 1}}},
        },
        "responses": answered | _problem_references("400", "403", "413", "415", "501", "503", "504", "507"),
    }


def _offer_uploads(models: Sequence[str]) -> Schema:
    responses = {"201": _json("One upload form for each photo", "Uploads")}
    return {
        "operationId": "offerUploads",
        "summary": "Get forms to upload photos straight to the bucket",
        "description": "For large photos, and for many. POST to the `url` of each upload, as multipart/form-data: its "
        "`fields`, then `Content-Type` (an image type), then the photo as `file`. Then confirm them: `POST "
        "/v1/batches/{batch}/photos/confirm`. Each form takes one photo and is valid for `seconds`. 409: the storage "
        "of this server does not support it; send the photos as a form.",
        "requestBody": _body(for_server(UPLOADS, models, False), {"photos": [{"name": "cat.jpg"}]}),
        "responses": responses | _problem_references("400", "409", "413", "503"),
    }


def _confirm_uploads(models: Sequence[str], webhooks: bool) -> Schema:
    responses = {"200": _json("The state of each photo", "Arrivals")}
    return {
        "operationId": "confirmUploads",
        "summary": "Queue photos that were uploaded to the bucket",
        "description": "Give the same model, index and name as for `POST /v1/uploads`. It is safe to confirm a photo "
        "twice. Name the webhook in the last call: it waits for all photos that the batch has then.",
        "parameters": [_batch_parameter()],
        "requestBody": _body(for_server(CONFIRMATION, models, webhooks), {"photos": [{"index": 0, "name": "cat.jpg"}]}),
        "responses": responses | _problem_references("400", "404", "413", "503", "507"),
    }


def _reading() -> Schema:
    """The operations that take no body."""
    batch = _batch_parameter()
    index = _parameter("index", "path", INDEX | {"description": "The position of the photo in the batch, from 0."})
    paging = [_parameter("after", "query", AFTER), _parameter("limit", "query", LIMIT)]
    cancel = _operation("cancelBatch", "Cancel the photos without a result", "Cancelled", [batch], "404") | {
        "description": "Each photo without a result is removed and gets the failed result `cancelled`, and keeps it "
        "whatever a worker does later. The answer tells how many photos are cancelled and how many had been labelled."
    }
    retry = _operation("retryBatch", "Label the failed photos again", "Retried", [batch], "404") | {
        "description": "A photo whose `can_retry` is false stays failed: it is at fault itself, or its bytes are not "
        "stored. The answer tells how many photos are labelled again; they are `queued` until they have a result."
    }
    delete = _operation("deleteBatch", "Delete a batch for good", "Deleted", [batch], "404") | {
        "description": "Its photos, results, corrections and webhook are deleted; what a worker makes of it later is "
        "dropped. Then the batch is unknown (404). The answer tells how many photos it had."
    }
    health = {"200": _json("Ready", "Health"), "503": _json("Not ready", "Health")}
    return {
        "/v1/batches/{batch}": {
            "get": _operation("getBatch", "The state of a batch", "Batch", [batch], "404"),
            "delete": delete,
        },
        "/v1/batches/{batch}/cancel": {"post": cancel},
        "/v1/batches/{batch}/retry": {"post": retry},
        "/v1/batches/{batch}/results": {
            "get": _operation("getResults", "The photos of a batch", "Results", [batch, *paging], "400", "404")
        },
        "/v1/batches/{batch}/photos/{index}": {
            "get": _operation("getPhoto", "One photo with its result", "Photo", [batch, index], "404")
        },
        "/v1/models": {"get": _operation("getModels", "The models that a request may name", "Models", [])},
        "/healthz": {"get": _operation("getHealth", "Whether the process runs", "Health", [])},
        "/readyz": {
            "get": _operation("getReadiness", "Whether the buckets and queues answer", "Health", [])
            | {"responses": health}
        },
    }


def _webhook(name: str, summary: str, event: str, on: bool) -> Schema:
    names = {
        "webhook-id": "The id of the event. A repeated delivery has the same id.",
        "webhook-timestamp": "The time of this delivery, in seconds since 1970.",
        "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `<webhook-id>.<webhook-timestamp>.<body>`. "
        "While the secret is changed there are two, with a space between them.",
    }
    return {
        "operationId": name,
        "summary": summary,
        "description": "Posted at least once to the `webhook` of the submission, as standardwebhooks.com describes."
        + ("" if on else " This server sends none: its operator has not set SHOAL_WEBHOOK_SECRET."),
        "parameters": [
            _parameter(header, "header", TEXT | {"description": text}) | {"required": True}
            for header, text in names.items()
        ],
        "requestBody": _body(reference(event), {}),
        "responses": {"2XX": {"description": "Received"}, "410": {"description": "Stop: do not deliver again"}},
    }


# Their parts


def _operation(name: str, summary: str, answer: str, parameters: list[Schema], *problems: str) -> Schema:
    responses = {"200": _json(summary, answer)} | _problem_references(*problems, "503")
    return {"operationId": name, "summary": summary, "parameters": parameters, "responses": responses}


def _parameter(name: str, where: str, schema: Schema) -> Schema:
    """A parameter of an operation; the description of its schema moves up to it."""
    rest = {key: value for key, value in schema.items() if key != "description"}
    parameter = {"name": name, "in": where, "schema": rest, "description": schema["description"]}
    return parameter | ({"required": True} if where == "path" else {})


def _batch_parameter() -> Schema:
    return _parameter("batch", "path", BATCH_ID | {"description": "The id of the batch."})


def _body(schema: Schema, example: Schema) -> Schema:
    shown = {"example": example} if example else {}
    return {"required": True, "content": {"application/json": {"schema": schema} | shown}}


def _json(description: str, name: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": reference(name)}}}


def _links() -> Schema:
    """The operations that can follow on a new batch."""
    batch = {"batch": "$response.body#/batch"}
    links = {
        name: {"operationId": name, "parameters": batch}
        for name in ("getBatch", "getResults", "cancelBatch", "retryBatch", "deleteBatch")
    }
    first = {"operationId": "getPhoto", "parameters": batch | {"index": "$response.body#/photos/0/index"}}
    return {"links": links | {"getPhoto": first}}


def _problem_references(*statuses: str) -> Schema:
    return {status: {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _problem_responses() -> Schema:
    content = {"application/problem+json": {"schema": reference("Problem")}}
    return {status: {"description": text, "content": content} for status, text in _PROBLEMS.items()}
