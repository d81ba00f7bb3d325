"""The API of the page's script: new batches, photos in small groups, batches as JSON, thumbnails."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify, make_response, request

from inference import images
from shoal.errors import BadImage, NotFound
from web_tier.access.rights import Right, needs
from web_tier.intake.accept_photos import IntakeOutcome
from web_tier.problems import RETRY_AFTER_SECONDS
from web_tier.schemas.bodies import FORM, PHOTO_FORM_BYTES, takes
from web_tier.schemas.check import whole_number
from web_tier.schemas.requests import FIRST
from web_tier.services import begin_batch, form, services, take
from web_tier.thumbnail_gate import Busy

blueprint = Blueprint("api", __name__)

THUMBNAIL_PIXELS = 240
LARGE_PIXELS = 1600
THUMBNAIL_CACHE = "private, max-age=31536000, immutable"

NO_THUMBNAIL = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96" role="img" aria-label="No preview">
<rect width="96" height="96" fill="#8883"/>
<path d="M26 66l14-18 10 12 7-8 13 14z" fill="#8889"/><circle cx="62" cy="36" r="6" fill="#8889"/></svg>"""


@blueprint.post("/batches")
@needs(Right.LABEL)
def new() -> tuple[Response, int]:
    """Make a batch to send photos to."""
    batch = begin_batch()
    return jsonify(batch=batch, url=f"/batches/{batch}"), 201


@blueprint.post("/batches/<batch>/photos")
@needs(Right.LABEL)
@takes({FORM: PHOTO_FORM_BYTES})
def add_photos(batch: str) -> Response:
    """Accept photos of a batch, with indexes from `first` on. It is safe to send the same photos again."""
    services().batches.check_open(batch)
    outcomes = take(form(), batch, whole_number("first", request.args, FIRST))
    return jsonify([_described(photo) for photo in outcomes])


def _described(photo: IntakeOutcome) -> dict[str, object]:
    status = "failed" if photo.error else "accepted"
    return {"index": photo.job.index, "name": photo.job.name, "status": status, "error": photo.error}


@blueprint.get("/batches/<batch>.json")
@needs(Right.READ)
def batch_json(batch: str) -> Response:
    """A batch, read from the buckets."""
    return jsonify(services().batches.read(batch).to_dict())


@blueprint.get("/batches/<batch>/photos/<int:index>/thumbnail")
@needs(Right.READ)
def thumbnail(batch: str, index: int) -> Response:
    """A small picture of a photo. If there is none: a grey picture with status 404, or 503 while many are made."""
    return _picture(batch, index, THUMBNAIL_PIXELS)


@blueprint.get("/batches/<batch>/photos/<int:index>/picture")
@needs(Right.READ)
def picture(batch: str, index: int) -> Response:
    """A photo as large as a screen, upright; answers as the thumbnail does."""
    return _picture(batch, index, LARGE_PIXELS)


def _picture(batch: str, index: int, pixels: int) -> Response:
    job = services().batches.job(batch, index)
    try:
        if job is None:
            return _no_thumbnail(404)
        return make_response(
            _shrunk(job.key, pixels), 200, {"Content-Type": "image/jpeg", "Cache-Control": THUMBNAIL_CACHE}
        )
    except Busy:
        return _no_thumbnail(503)
    except (BadImage, NotFound):
        return _no_thumbnail(404)


def _shrunk(key: str, pixels: int) -> bytes:
    gate = services().thumbnails
    with gate.admitted():
        payload = services().cloud.inputs.get(key)
        with gate.turn():
            return images.thumbnail(payload, pixels, services().settings.max_pixels)


def _no_thumbnail(status: int) -> Response:
    headers = {"Content-Type": "image/svg+xml", "Cache-Control": "no-store"}
    if status == 503:
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS[status])
    return make_response(NO_THUMBNAIL, status, headers)
