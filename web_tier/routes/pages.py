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

from inference import photo_folders, store
from inference.decoding import photo_formats
from inference.model import Model, purpose
from shoal.buckets import corrections
from shoal.errors import Permanent, ShoalError
from shoal.prices import price_per_hour
from shoal.settings import in_force
from web_tier import words
from web_tier.access.rights import Right, needs
from web_tier.problems import Problem, wants_page
from web_tier.results import table
from web_tier.results.batches import Photo
from web_tier.results.card import card
from web_tier.results.status import Counts, hindrance, status_line, title_of
from web_tier.results.view import View, page_of, pages_of
from web_tier.routes import compat, sharing
from web_tier.schemas.bodies import FORM, PHOTO_FORM_BYTES, takes
from web_tier.schemas.requests import MOST_INDEX
from web_tier.services import begin_batch, form, retry_failed, services, take
from web_tier.watching.estimate import about, estimate, in_words, measured, no_start, on_this_server

blueprint = Blueprint("pages", __name__)

SMALL_SIDE = 256  # pixels, of the smaller copies that static/js/smaller.js makes


@blueprint.get("/")
@needs(Right.LABEL)
def upload_page() -> Response:
    """Where photos are chosen."""
    return _upload_page()


@blueprint.post("/")
@needs(Right.LABEL)
@takes({FORM: PHOTO_FORM_BYTES})
def upload() -> BaseResponse:
    """Photos from a plain form, or from a program that waits for the labels."""
    return _from_form() if wants_page() else compat.label()


def _from_form() -> BaseResponse:
    batch = begin_batch()
    try:
        take(form(), batch)
    except Problem as problem:
        if problem.status != 400:
            raise
        return _upload_page(str(problem), 400)
    return redirect(url_for("pages.batch_page", batch=batch), 303)


@blueprint.get("/batches/<batch>")
@needs(Right.READ)
def batch_page(batch: str) -> Response:
    """A batch, read from the buckets."""
    found = services().batches.read(batch)
    pool = None if found.finished else services().pool_poller.read()
    count = Counts.of(found.photos)
    line = status_line(count, found.seconds, pool)
    view = View.of(request.args)
    shown = view.found(found.photos)
    page = render_template(
        "batch.html",
        batch=found,
        count=count,
        status=line,
        title=title_of(count, line),
        hindrance=hindrance(pool),
        cost=services().batch_cost.fact(found.began, found.seconds, found.total) if found.finished else ("", ""),
        pool=pool,
        shared=sharing.link(batch),
        view=view,
        found=len(shown),
        drawn=view.on_its_page(shown),
        pages=pages_of(shown),
    )
    response = make_response(page)
    # What nobody can guess must not turn up in a search engine either.
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@blueprint.get("/batches/<batch>/status")
@needs(Right.READ)
def status(batch: str) -> Response:
    """The sentence of a batch for the page that sends it and did not send all of its photos.

    unsent, cancelled: how many of them could not be sent, and how many were cancelled before.
    """
    found = services().batches.read(batch)
    counts = (request.args.get(name, "") for name in ("unsent", "cancelled"))
    unsent, cancelled = (int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0 for text in counts)
    pool = None if found.finished else services().pool_poller.read()
    line = status_line(Counts.of(found.photos, unsent, cancelled), found.seconds, pool)
    return jsonify(line=line, hindrance=hindrance(pool))


@blueprint.get("/batches/<batch>.csv")
@needs(Right.READ)
def batch_csv(batch: str) -> Response:
    """A batch as a table."""
    whole = services().batches.read(batch)
    response = Response(table.rows(whole), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="shoal-{batch}.csv"'
    return response


@blueprint.get("/batches/<batch>/photos/<int:index>/more")
@needs(Right.READ)
def more(batch: str, index: int) -> Response:
    """What a page shows of a photo that is opened, as a part of the page."""
    draw = get_template_attribute("_photo.html", "more")
    return make_response(draw(batch, _labelled(batch, index)))


@blueprint.post("/batches/<batch>/photos/<int:index>/correction")
@needs(Right.LABEL)
def correct(batch: str, index: int) -> BaseResponse:
    """Keep what is right where the label is wrong, or take that back."""
    photo = _labelled(batch, index)
    if "drop" in request.form:
        label = ""
        services().corrections.drop(photo.job)
    else:
        label = _right_label(photo)
        services().corrections.keep(photo.job, label, photo.label)
    if wants_page():
        address = url_for("pages.batch_page", batch=batch, _anchor=f"photo-{index}", page=page_of(index))
        return redirect(address, 303)
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


def _labelled(batch: str, index: int) -> Photo:
    """A labelled photo. Raises Problem (404, 409); may raise Retryable."""
    photo = services().batches.photo(batch, index)
    if photo.state != "done":
        raise Problem(409, "This photo has no label yet that could be wrong.")
    return photo


@blueprint.get("/estimate")
@needs(Right.SIGNED_IN)
def expected() -> Response:
    """What labelling `photos` photos will take and cost, in numbers and in words."""
    text = request.args.get("photos", "")
    if not (re.fullmatch(r"[0-9]{1,6}", text) and 0 < int(text) <= MOST_INDEX + 1):
        raise Problem(400, f"photos={text[:20]!r}: expected a number from 1 to {MOST_INDEX + 1:,}.")
    if rate := services().venues.chosen.per_second:
        found = on_this_server(int(text), rate)
        here = f"{about(found.seconds)}, on this server"
        return jsonify(seconds=round(found.seconds, 1), dollars=found.price, words=here, hindrance="")
    pool = services().pool_poller.read()
    if pool is None:
        raise Problem(503, "The pool cannot be read at the moment.")
    settings, past = in_force.applied(services().settings), services().history.read()
    service, boot = measured(past, settings)
    found = estimate(int(text), service, boot, pool, settings, price_per_hour(settings))
    told, hindrance = in_words(found, settings), no_start(past, pool)
    return jsonify(seconds=round(found.seconds, 1), dollars=found.price, words=told, hindrance=hindrance)


@blueprint.post("/batches/<batch>/cancel")
@needs(Right.LABEL)
def cancel(batch: str) -> BaseResponse:
    """Cancel the photos of a batch that have no result yet."""
    cancelled, labelled = services().batches.cancel(batch)
    if wants_page():
        return redirect(url_for("pages.batch_page", batch=batch), 303)
    return make_response({"cancelled": cancelled, "labelled": labelled})


@blueprint.post("/batches/<batch>/retry")
@needs(Right.LABEL)
def retry(batch: str) -> BaseResponse:
    """Label the failed photos of a batch once more."""
    retried = retry_failed(batch)
    if wants_page():
        return redirect(url_for("pages.batch_page", batch=batch), 303)
    return make_response({"retried": retried})


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
        offered_models=[(name, _offer(name)) for name in services().models],
        for_small=[name for name in services().models if _takes_small(name)],
        leftovers="|".join(sorted(photo_folders.SYSTEM_NAMES)),
    )
    return make_response(page, status)


def _offer(name: str) -> str:
    """What a model does, with its technical name: that alone for a model that only the workers have."""
    model = _known(name)
    does = purpose(model) if model else ""
    return f"{does} ({name})" if does else name


def _takes_small(name: str) -> bool:
    """Whether a photo with the short side of the page's smaller copies has all the pixels that a model looks at."""
    model = _known(name)
    return model is not None and model.task == "classify" and model.side <= SMALL_SIDE


def _known(name: str) -> Model | None:
    """The model of that name; None for one that only the workers have."""
    try:
        return store.model(name, services().settings.cache_dir)
    except (ShoalError, OSError, ValueError):
        return None


@blueprint.post("/batches/<batch>/delete")
@needs(Right.LABEL)
def delete(batch: str) -> BaseResponse:
    """Delete all that is kept of a batch."""
    photos = services().batches.delete(batch)
    return redirect(url_for("pages.upload_page"), 303) if wants_page() else make_response({"photos": photos})
