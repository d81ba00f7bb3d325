"""The APIs of the systems that Shoal replaces, so that their clients keep working.

- `GET /cloudimagerecognition.php?input=<URL>` -> `["<image name>", "<label>"]`, the label "timeout" after 120 s
- `POST /object-detection` with `{"id", "image_data"}` -> `{"id", "objects": [{"label", "accuracy"}], "inference_time"}`
- `POST` or `GET /api/detect` with `{"images": [...], "upload_times": [...]}` -> a list with one entry for each picture
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, make_response, request

from inference import model
from shoal.messages import Result
from web_tier.access.rights import Right, needs
from web_tier.intake.json_body import json_object
from web_tier.intake.offers import Named
from web_tier.problems import Problem
from web_tier.results.batches import Photo
from web_tier.routes.waiting import labelled
from web_tier.schemas.bodies import ANY, PHOTO_JSON_BYTES, takes
from web_tier.schemas.requests import MOST_PHOTOS
from web_tier.services import json_stream, listed, services

blueprint = Blueprint("contracts", __name__)

ANSWER_SECONDS = 120.0
CHANGING_GETS = ("contracts.recognise", "contracts.detect_many")  # endpoints whose GET accepts photos


def changing_gets(app: Flask) -> frozenset[str]:
    """The paths of CHANGING_GETS."""
    return frozenset(rule.rule for rule in app.url_map.iter_rules() if rule.endpoint in CHANGING_GETS)


@blueprint.get("/cloudimagerecognition.php")
@needs(Right.LABEL)
def recognise() -> Response:
    """Label the image at an address."""
    url = request.args.get("input", "")
    if not url:
        raise Problem(400, "The query parameter input, the address of an image, is missing.")
    photo = _ask([Named("", "", url)])[0]
    if photo.result is None:
        return make_response(jsonify([photo.job.name, "timeout"]), 504)
    if photo.result.status == "failed":
        return make_response(jsonify([photo.job.name, photo.result.error]), 422)
    return jsonify([photo.job.name, photo.result.label])


@blueprint.post("/object-detection")
@needs(Right.LABEL)
@takes({ANY: PHOTO_JSON_BYTES})
def detect_objects() -> Response:
    """Detect the objects in one picture. Times are in milliseconds."""
    body = json_object(json_stream(), [("image_data",)])
    identity, data = body.get("id"), body.get("image_data")
    if not isinstance(identity, str) or not isinstance(data, str):
        raise Problem(400, 'Send {"id": ..., "image_data": ...}, the second in base64.')
    result = _result(_ask([Named(identity, data, "")], detector())[0])
    if result.status == "failed":
        return make_response(jsonify(id=identity, objects=[], inference_time=0.0, error=result.error), 422)
    objects = [{"label": detection.name, "accuracy": detection.score} for detection in result.detections]
    return jsonify(id=identity, objects=objects, inference_time=_milliseconds(result))


@blueprint.route("/api/detect", methods=["GET", "POST"])
@needs(Right.LABEL)
@takes({ANY: PHOTO_JSON_BYTES})
def detect_many() -> Response:
    """Detect the objects in several pictures. Times are in milliseconds, and averages leave out the failed pictures.

    Upload times come back as the client sent them.
    """
    body = json_object(json_stream(), [("images", "*"), ("images", "*", "image")])
    pictures = _pictures(body.get("images"))
    uploads = _upload_times(body.get("upload_times"), len(pictures))
    photos = _ask([Named(identity, data, "") for identity, data in pictures], detector())
    results = [_result(photo) for photo in photos]
    spent = [_milliseconds(result) for result in results if result.status == "done"]
    common = {
        "average_inference_time": round(fmean(spent), 3) if spent else 0.0,
        "average_upload_time": fmean(uploads) if uploads else None,
    }
    return jsonify(
        [
            {
                "picture_id": identity,
                **_summary(result),
                "upload_time": uploads[number] if uploads else None,
                **common,
            }
            for number, ((identity, _), result) in enumerate(zip(pictures, results, strict=True))
        ]
    )


def detector() -> str:
    """The first served model that detects objects. Raises Problem (501) when there is none."""
    for name in services().models:
        if model.by_name(name).task == "detect":
            return name
    raise Problem(501, "No model that detects objects is served here. The operator can add one to SHOAL_MODELS.")


def _ask(photos: Sequence[Named], chosen: str = "") -> list[Photo]:
    offers = listed(photos, chosen)
    return labelled(offers, min(ANSWER_SECONDS, services().settings.answer_seconds))[1]


def _result(photo: Photo) -> Result:
    return photo.result or Result.failed(photo.job.key, "timeout")


def _summary(result: Result) -> dict[str, Any]:
    if result.status == "failed":
        return {"status": "failed", "error": result.error, "class_id": [], "bounding_boxes": [], "inference_time": 0.0}
    return {
        "status": "done",
        "class_id": [detection.class_id for detection in result.detections],
        "bounding_boxes": [detection.box for detection in result.detections],
        "inference_time": _milliseconds(result),
    }


def _milliseconds(result: Result) -> float:
    return round(result.seconds.get("infer", 0.0) * 1000, 3)


def _pictures(images: Any) -> list[tuple[str, str]]:
    """(id, base64) of each picture. images: a list of base64 strings or {"id", "image"}, or an object id -> base64."""
    if isinstance(images, dict):
        images = [{"id": identity, "image": data} for identity, data in images.items()]
    if not isinstance(images, list) or not 0 < len(images) <= MOST_PHOTOS:
        raise Problem(400, f'"images" must be a list or an object of 1 to {MOST_PHOTOS:,} pictures in base64.')
    pictures = []
    for number, image in enumerate(images):
        entry = image if isinstance(image, dict) else {"image": image}
        identity, data = entry.get("id", str(number)), entry.get("image")
        if not isinstance(identity, str | int) or not isinstance(data, str):
            raise Problem(400, f'images[{number}] must be a picture in base64, or {{"id": ..., "image": ...}}.')
        pictures.append((str(identity), data))
    return pictures


def _upload_times(times: Any, count: int) -> list[float]:
    if times is None:
        return []
    values = list(times.values()) if isinstance(times, dict) else times
    if not isinstance(values, list) or len(values) != count or not all(_is_number(value) for value in values):
        raise Problem(400, '"upload_times" must be one number for each picture.')
    return [float(value) for value in values]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and json.dumps(value) not in _NOT_FINITE


_NOT_FINITE = ("NaN", "Infinity", "-Infinity")
