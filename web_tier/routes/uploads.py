"""The two calls around an upload straight to the bucket: forms to send photos with, and the word that they arrived."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, jsonify, request

from shoal.messages import Job, is_batch, new_batch, safe_name
from web_tier.intake.direct import FORM_SECONDS, Arrival
from web_tier.intake.intake import MOST_INDEX
from web_tier.problems import Problem, unknown_batch
from web_tier.routes.submission import LONGEST_NAME, MOST_PHOTOS, json_object, optional_text
from web_tier.services import services

blueprint = Blueprint("uploads", __name__)


@blueprint.post("/v1/uploads")
def forms() -> tuple[Response, int]:
    """A form for each photo, in a new batch or in the one that is named."""
    body = json_object(request.stream)
    batch = body.get("batch", "") or new_batch(services().clock.now())
    if not isinstance(batch, str) or not is_batch(batch):
        raise Problem(400, '"batch" is not the id of a batch.')
    made = [(job, services().direct.form(job)) for job in _jobs(body, batch, counts=True)]
    told = [{"index": job.index, "name": job.name, "url": form.url, "fields": form.fields} for job, form in made]
    return jsonify(batch=batch, seconds=FORM_SECONDS, uploads=told), 201


@blueprint.post("/v1/batches/<batch>/photos/confirm")
def confirm(batch: str) -> Response:
    """Photos that were sent: queue them. A webhook is for all photos that the batch then has."""
    if not is_batch(batch):
        raise unknown_batch()
    body = json_object(request.stream)
    jobs, webhook = _jobs(body, batch), optional_text(body, "webhook", "an address")
    if webhook is not None:
        services().webhooks.check(webhook)
    arrivals = services().direct.confirm(jobs)
    if webhook is not None:
        services().webhooks.register(batch, webhook, len(services().batches.read(batch).photos))
    return jsonify(photos=[_told(one) for one in arrivals])


def _told(one: Arrival) -> dict[str, object]:
    return {"index": one.job.index, "name": one.job.name, "status": one.status, "error": one.error}


def _jobs(body: dict[str, Any], batch: str, counts: bool = False) -> list[Job]:
    """The photos of a body. counts: one without an index has its place in the list."""
    photos, model = body.get("photos"), body.get("model", "")
    if not isinstance(photos, list) or not 0 < len(photos) <= MOST_PHOTOS:
        raise Problem(400, f'"photos" must be a list of 1 to {MOST_PHOTOS:,} photos.')
    if not isinstance(model, str):
        raise Problem(400, '"model" must be the name of a model.')
    if model:
        services().intake.check_model(model)
    jobs = []
    for place, photo in enumerate(photos):
        if not isinstance(photo, dict):
            raise Problem(400, f"photos[{place}] is not an object.")
        name = photo.get("name")
        if not isinstance(name, str) or len(name) > LONGEST_NAME:
            raise Problem(400, f"photos[{place}].name is not a string, or too long.")
        index = _index(photo.get("index", place if counts else None), place)
        jobs.append(Job(batch, index, safe_name(name), services().replies.name, model))
    return jobs


def _index(index: Any, place: int) -> int:
    # JSON has one kind of number: 7.0 is one, true is none.
    if isinstance(index, int | float) and not isinstance(index, bool) and index in range(MOST_INDEX + 1):
        return int(index)
    raise Problem(400, f"photos[{place}].index is not a number from 0 to {MOST_INDEX}.")
