"""The pages that a browser shows, with and without JavaScript."""

from __future__ import annotations

import re
from dataclasses import replace

from flask import (
    Blueprint,
    Response,
    get_template_attribute,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.wrappers import Response as BaseResponse

from inference.decoding import photo_formats
from shoal import corrections
from shoal.errors import Permanent
from shoal.messages import new_batch
from shoal.prices import price_in_words
from web_tier import words
from web_tier.problems import Problem, wants_page
from web_tier.results import table
from web_tier.results.batches import Batch, Photo
from web_tier.results.card import card
from web_tier.results.hub import PoolState
from web_tier.results.status import status_line
from web_tier.results.view import PAGE_PHOTOS, View
from web_tier.routes import compat
from web_tier.schemas.bodies import FORM, PHOTO_FORM_BYTES, takes
from web_tier.schemas.requests import MOST_INDEX
from web_tier.services import form, services
from web_tier.watching.estimate import dollars, estimate

blueprint = Blueprint("pages", __name__)


@blueprint.get("/")
def upload_page() -> Response:
    """Where photos are chosen."""
    return _upload_page()


@blueprint.post("/")
@takes({FORM: PHOTO_FORM_BYTES})
def upload() -> BaseResponse:
    """Photos from a plain form, or from a program that waits for the labels."""
    return _from_form() if wants_page() else compat.label()


def _from_form() -> BaseResponse:
    batch = new_batch(services().clock.now())
    try:
        services().intake.take(form(), batch)
    except Problem as problem:
        if problem.status != 400:
            raise
        return _upload_page(str(problem), 400)
    return redirect(url_for("pages.batch_page", batch=batch), 303)


@blueprint.get("/batches/<batch>")
def batch_page(batch: str) -> Response:
    """A batch, read from the buckets."""
    found = services().batches.read(batch)
    pool = None if found.finished else services().pool_poller.read()
    view = View.of(request.args)
    shown = view.found(found.photos)
    start = (view.page - 1) * PAGE_PHOTOS
    page = render_template(
        "batch.html",
        batch=found,
        status=_status(found, pool),
        pool=pool,
        view=view,
        found=len(shown),
        drawn=shown[start : start + PAGE_PHOTOS],
        pages=-(-len(shown) // PAGE_PHOTOS),
    )
    response = make_response(page)
    # What nobody can guess must not turn up in a search engine either.
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@blueprint.get("/batches/<batch>/status")
def status(batch: str) -> Response:
    """The sentence of a batch for the page that sends it and could not send `unsent` of its photos."""
    found = services().batches.read(batch)
    text = request.args.get("unsent", "0")
    unsent = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
    pool = None if found.finished else services().pool_poller.read()
    return jsonify(line=_status(found, pool, unsent))


def _status(found: Batch, pool: PoolState | None, unsent: int = 0) -> str:
    failed = found.count("failed") + unsent
    return status_line(found.total + unsent, found.count("queued"), failed, found.seconds, pool)


@blueprint.get("/batches/<batch>.csv")
def batch_csv(batch: str) -> Response:
    """A batch as a table."""
    whole = services().batches.read(batch)
    response = Response(table.rows(whole), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="shoal-{batch}.csv"'
    return response


@blueprint.get("/batches/<batch>/photos/<int:index>/more")
def more(batch: str, index: int) -> Response:
    """What a page shows of a photo that is opened, as a part of the page."""
    draw = get_template_attribute("_photo.html", "more")
    return make_response(draw(batch, _photo(batch, index)))


@blueprint.post("/batches/<batch>/photos/<int:index>/correction")
def correct(batch: str, index: int) -> BaseResponse:
    """Keep what is right where the label is wrong, or take that back."""
    photo = _photo(batch, index)
    if "drop" in request.form:
        label = ""
        services().corrections.drop(photo.job)
    else:
        label = _right_label(photo)
        services().corrections.keep(photo.job, label, photo.label)
    if wants_page():
        page = index // PAGE_PHOTOS + 1
        place = url_for("pages.batch_page", batch=batch, _anchor=f"photo-{index}", page=page if page > 1 else None)
        return redirect(place, 303)
    return make_response({"index": index, "correction": label, "card": card(replace(photo, correction=label))})


def _right_label(photo: Photo) -> str:
    """What the current form says is in a photo. Raises Problem (400)."""
    try:
        label = corrections.checked(request.form.get("label", ""))
    except Permanent as error:
        raise Problem(400, str(error)) from None
    if label == photo.label:
        raise Problem(400, f"{label} is the label that it has already.")
    return label


def _photo(batch: str, index: int) -> Photo:
    """A labelled photo. Raises Problem (404, 409); may raise Retryable."""
    found = services().batches.page(batch, index - 1, 1).photos
    if not found or found[0].job.index != index:
        raise Problem(404, f"The batch has no photo {index}.")
    if found[0].state != "done":
        raise Problem(409, "This photo has no label yet that could be wrong.")
    return found[0]


@blueprint.get("/estimate")
def expected() -> Response:
    """What labelling `photos` photos will take and cost, in numbers and in words."""
    text = request.args.get("photos", "")
    if not (re.fullmatch(r"[0-9]{1,6}", text) and 0 < int(text) <= MOST_INDEX + 1):
        raise Problem(400, f"photos={text[:20]!r}: expected a number from 1 to {MOST_INDEX + 1:,}.")
    pool = services().pool_poller.read()
    if pool is None:
        raise Problem(503, "The pool cannot be read at the moment.")
    ours, past = services().settings, services().history.read()
    service = past[-1].service_seconds if past else ours.expected_service_seconds
    boot = past[-1].boot_seconds if past else ours.expected_boot_seconds
    found = estimate(int(text), service, boot, pool, ours, services().price)
    cost = price_in_words(ours) if found.price is None else f"about {dollars(found.price)}"
    told = f"about {words.duration(found.seconds)}, {cost}"
    return jsonify(seconds=round(found.seconds, 1), dollars=found.price, words=told)


@blueprint.post("/batches/<batch>/retry")
def retry(batch: str) -> BaseResponse:
    """Label the failed photos of a batch once more."""
    found = services().batches.read(batch)
    failed = [photo for photo in found.photos if photo.can_retry]
    jobs = [replace(photo.job, reply_to=services().replies.name) for photo in failed]
    for photo in failed:
        services().batches.reopen(photo)
    for job in jobs:
        services().hub.added(job)
    services().venue.again(jobs)
    if wants_page():
        return redirect(url_for("pages.batch_page", batch=batch), 303)
    return make_response({"retried": len(jobs)})


def _upload_page(error: str = "", status: int = 200) -> Response:
    limit = services().settings.max_file_bytes
    too_large = words.TOO_LARGE.format(size="{}", limit=words.size(limit))
    page = render_template(
        "upload.html",
        error=error,
        limit=words.size(limit),
        limit_bytes=limit,
        too_large=too_large,
        accept=photo_formats.ACCEPT,
    )
    return make_response(page, status)
