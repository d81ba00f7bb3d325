"""The two calls around an upload straight to the bucket: get upload forms, and confirm what was uploaded."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify

from shoal.messages import Job, safe_name
from web_tier.access import person
from web_tier.access.gate import check_own
from web_tier.access.rights import Right, needs
from web_tier.intake.direct import FORM_SECONDS, Arrival
from web_tier.intake.json_body import json_object
from web_tier.schemas.bodies import ANY, LIST_JSON_BYTES, takes
from web_tier.schemas.check import RequestCheck
from web_tier.schemas.requests import CONFIRMATION, UPLOADS
from web_tier.services import begin_batch, json_stream, services

blueprint = Blueprint("uploads", __name__)

_check_uploads = RequestCheck(UPLOADS)
_check_confirmation = RequestCheck(CONFIRMATION)


@blueprint.post("/v1/uploads")
@needs(Right.LABEL)
@takes({ANY: LIST_JSON_BYTES})
def forms() -> tuple[Response, int]:
    """Make a form for each photo, in a new batch or in the batch that the body names."""
    body = json_object(json_stream())
    _check_uploads(body)
    batch = body.get("batch")
    if batch:
        check_own(services().entrance, batch)
    else:
        batch = begin_batch()
    with services().quotas.request(person.current()) as one:
        jobs = _jobs(body, batch)
        for _ in jobs:
            one()
        made = [(job, services().direct.form(job)) for job in jobs]
    uploads = [{"index": job.index, "name": job.name, "url": form.url, "fields": form.fields} for job, form in made]
    return jsonify(batch=batch, seconds=FORM_SECONDS, uploads=uploads), 201


@blueprint.post("/v1/batches/<batch>/photos/confirm")
@needs(Right.LABEL)
@takes({ANY: LIST_JSON_BYTES})
def confirm(batch: str) -> Response:
    """Queue photos that were uploaded. A webhook waits for all photos that the batch has after this call."""
    services().batches.check_open(batch)
    body = json_object(json_stream())
    _check_confirmation(body)
    jobs, webhook = _jobs(body, batch), body.get("webhook")
    if webhook is not None:
        services().webhooks.check(webhook)
    arrivals = services().direct.confirm(jobs)
    services().empty.filled(batch)
    if webhook is not None:
        services().webhooks.register(batch, webhook, len(services().batches.read(batch).photos))
    return jsonify(photos=[_described(arrival) for arrival in arrivals])


def _described(arrival: Arrival) -> dict[str, object]:
    return {
        "index": arrival.job.index,
        "name": arrival.job.name,
        "status": arrival.status,
        "error": arrival.error,
    }


def _jobs(body: dict[str, Any], batch: str) -> list[Job]:
    """The jobs of the photos in a checked body. The default of a photo's index is its position in the list."""
    model = body.get("model", "")
    if model:
        services().intake.check_model(model)
    reply_to = services().replies.name
    return [
        # JSON has one kind of number: an index may arrive as 7.0.
        Job(batch, int(photo.get("index", position)), safe_name(photo["name"]), reply_to, model)
        for position, photo in enumerate(body["photos"])
    ]
