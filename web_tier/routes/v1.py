"""The API for programs, version 1. `schemas/openapi.py` describes it; `/openapi.json` serves the description."""

from __future__ import annotations

import re
from dataclasses import replace

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from markupsafe import Markup, escape

from inference import store
from shoal.errors import ShoalError
from shoal.messages import new_batch
from web_tier.access import person
from web_tier.access.rights import Right, needs
from web_tier.intake import idempotency
from web_tier.intake.idempotency import Claim
from web_tier.intake.json_body import read_submission
from web_tier.intake.offers import OfferedPhotos, Single
from web_tier.problems import Problem
from web_tier.results.batches import Batch, Photo
from web_tier.routes.waiting import address, answers, labelled
from web_tier.schemas import openapi
from web_tier.schemas.bodies import ANY, FORM, JSON, PHOTO_FORM_BYTES, PHOTO_JSON_BYTES, takes
from web_tier.schemas.check import whole_number
from web_tier.schemas.query_names import check_query
from web_tier.schemas.requests import AFTER, LIMIT, Schema
from web_tier.services import form, json_stream, listed, own, retry_failed, services, take

blueprint = Blueprint("v1", __name__)

_WAIT = re.compile(r"\s*wait\s*=\s*\"?(\d{1,6})\"?\s*", re.IGNORECASE)


@blueprint.before_app_request
def refuse_misspelt() -> None:
    """Refuse a query parameter that the API does not have."""
    if request.url_rule is not None and request.args:
        check_query(request.method, request.url_rule.rule, request.args)


@blueprint.get("/openapi.json")
@needs(Right.NOTHING)
def description() -> Response:
    """The description of the API for programs."""
    return jsonify(_document())


@blueprint.get("/api")
@needs(Right.NOTHING)
def try_it() -> str:
    """The description of the API for people, with forms to try it."""
    return render_template("api.html", document=_document())


def _document() -> Schema:
    return openapi.document(services().models, services().venues.names, services().settings)


@blueprint.app_template_filter("code")
def with_code(text: str) -> Markup:
    """The text as HTML: what stands between backticks in a description is code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


@blueprint.post("/v1/batches")
@needs(Right.LABEL)
@takes({FORM: PHOTO_FORM_BYTES, JSON: PHOTO_JSON_BYTES})
def submit() -> Response:
    """Accept photos; wait for their labels if the client prefers to."""
    wait = _preferred_wait()
    fingerprint = _fingerprint()  # reads the body, before the photos in it are read
    offers, webhook = _submission()
    claimed = _claim(fingerprint)
    with services().hub.listen(claimed.batch) as listener:
        photos = _already(claimed.batch) if claimed.complete else _take(offers, claimed, webhook)
        found = answers(claimed.batch, photos, listener, wait)
    whole = tuple(replace(photo, result=found.get(photo.job.key)) for photo in photos)
    response = _submitted(Batch(claimed.batch, whole, 0.0), wait)
    if claimed.repeated:
        response.headers[openapi.REPLAYED] = "true"
    return response


@blueprint.post("/v1/label")
@needs(Right.LABEL)
@takes({ANY: PHOTO_JSON_BYTES})
def label() -> Response:
    """Label the photo in the body, and answer with its result."""
    if request.mimetype in (FORM, JSON):
        raise Problem(415, "Send the bytes of one photo as the body. POST /v1/batches takes forms and JSON.")
    model = request.args.get("model", "")
    if model:
        services().intake.check_model(model)
    name = request.args.get("name", "photo")
    body = Single(name, json_stream(), services().settings.max_file_bytes, model)
    batch, (photo,) = labelled(body, services().settings.answer_seconds, keep_photos=False)
    if photo.result is None:
        raise Problem(504, f"The photo is not labelled yet. See {address(batch)}")
    return make_response(photo.to_dict(), 200 if photo.state == "done" else 422)


def _fingerprint() -> str:
    """Equal for two requests that are the same; empty without an idempotency key. Raises Problem (400)."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return ""
    idempotency.check_key(key)
    # The server has received the whole body, so it can be read twice.
    digest = idempotency.body_digest(request.environ["wsgi.input"], request.headers.get("Content-Type", ""))
    return " ".join([request.mimetype, digest, request.args.get("model", ""), *request.args.getlist("webhook")])


def _claim(fingerprint: str) -> Claim:
    key, fresh = request.headers.get("Idempotency-Key"), new_batch(services().clock.now())
    if key is None:
        own(fresh)
        return Claim(fresh, False, finish=lambda: None, forget=lambda: None)
    who = person.current()
    client = who.owner if who else ""
    claimed = idempotency.claim(
        services().cloud.outputs, services().clock, f"{client}\n{key}" if client else key, fingerprint, fresh
    )
    own(claimed.batch)
    return claimed


def _take(offers: OfferedPhotos, claimed: Claim, webhook: str | None) -> list[Photo]:
    with claimed.intake():
        taken = take(offers, claimed.batch)
        if webhook is not None:
            services().webhooks.register(claimed.batch, webhook, len(taken))
    return [one.photo for one in taken]


def _already(batch: str) -> list[Photo]:
    return list(services().batches.read(batch).photos)


def _submitted(whole: Batch, waited: int) -> Response:
    body = whole.summary() | {"photos": [photo.to_dict() for photo in whole.photos]}
    response = make_response(body, 200 if whole.finished else 202)
    response.headers["Location"] = f"/v1/batches/{whole.id}"
    if waited:
        response.headers["Preference-Applied"] = f"wait={waited}"
    return response


@blueprint.get("/v1/batches/<batch>")
@needs(Right.READ)
def batch_state(batch: str) -> Response:
    """The state of a batch."""
    found = services().batches.read(batch)
    return jsonify(found.summary() | {"cost": services().batch_cost.told(found.began, found.seconds, found.total)})


@blueprint.get("/v1/batches/<batch>/results")
@needs(Right.READ)
def results(batch: str) -> Response:
    """The photos of a batch with their results, page by page."""
    after, limit = whole_number("after", request.args, AFTER), whole_number("limit", request.args, LIMIT)
    page = services().batches.page(batch, after, limit)
    following = f"/v1/batches/{batch}/results?after={page.photos[-1].job.index}&limit={limit}" if page.more else None
    return jsonify(photos=[photo.to_dict() for photo in page.photos], next=following)


@blueprint.get("/v1/batches/<batch>/photos/<int:index>")
@needs(Right.READ)
def photo(batch: str, index: int) -> Response:
    """One photo with its result."""
    return jsonify(services().batches.photo(batch, index).to_dict())


@blueprint.delete("/v1/batches/<batch>")
@needs(Right.LABEL)
def delete(batch: str) -> Response:
    """Delete all that is kept of a batch."""
    return jsonify(batch=batch, photos=services().batches.delete(batch))


@blueprint.post("/v1/batches/<batch>/cancel")
@needs(Right.LABEL)
def cancel(batch: str) -> Response:
    """Cancel the photos of a batch that have no result yet."""
    cancelled, labelled = services().batches.cancel(batch)
    return jsonify(cancelled=cancelled, labelled=labelled)


@blueprint.post("/v1/batches/<batch>/retry")
@needs(Right.LABEL)
def retry(batch: str) -> Response:
    """Label the failed photos of a batch once more."""
    return jsonify(retried=retry_failed(batch))


@blueprint.get("/v1/models")
@needs(Right.SIGNED_IN)
def models() -> Response:
    """The models that a request may name."""
    names = services().models
    return jsonify(models=[{"name": name, "task": _task(name), "default": name == names[0]} for name in names])


def _task(name: str) -> str | None:
    """What a model does: classify, detect or emotion; None for a model that only the workers have."""
    try:
        return store.model(name, services().settings.cache_dir).task.removesuffix("_whole")
    except (ShoalError, OSError, ValueError):
        return None


def _submission() -> tuple[OfferedPhotos, str | None]:
    """The photos of the request, and the address of its webhook. The fields of a JSON body win over the query."""
    model, webhook = request.args.get("model"), request.args.get("webhook")
    if model is not None:
        services().intake.check_model(model)
    if request.mimetype == JSON:
        body = read_submission(json_stream())
        if body.model is not None:
            services().intake.check_model(body.model)
        webhook = webhook if body.webhook is None else body.webhook
        offers: OfferedPhotos = listed(body.photos, body.model or model or "")
    elif request.mimetype == FORM:
        offers = form(beside=("venue", "webhook"))
    else:
        raise Problem(415, "Send the photos as multipart/form-data, in the field inputFile, or as application/json.")
    if webhook is not None:
        services().webhooks.check(webhook)
    return offers, webhook


def _preferred_wait() -> int:
    """The seconds to wait, from the header `Prefer: wait=30` (RFC 7240); 0 without it."""
    for preference in request.headers.get("Prefer", "").split(","):
        if match := _WAIT.fullmatch(preference):
            return min(int(match[1]), int(services().settings.answer_seconds))
    return 0
