"""`POST /` from a program: one request, answered when its photos are labelled.

The answer is `text/plain`, one line for each photo in the order of the request: `<name without extension>:<label>`.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from flask import Response, make_response

from shoal.messages import Result
from web_tier.problems import PLAIN, Problem
from web_tier.results.batches import NOTHING, Photo
from web_tier.routes.waiting import address, labelled
from web_tier.services import form, services


def label() -> Response:
    """Accept the photos, wait for the labels, and answer with them."""
    batch, photos = labelled(form(), services().settings.answer_seconds)
    if missing := sum(photo.result is None for photo in photos):
        raise Problem(504, f"{missing} of {len(photos)} photos are not labelled yet. See {address(batch)}")
    good = any(photo.state == "done" for photo in photos)
    lines = [_line(photo) for photo in photos]
    body = "\n".join(lines) if len(lines) == 1 else "".join(f"{line}\n" for line in lines)
    return make_response(body, 200 if good else 422, {"Content-Type": PLAIN, "Content-Location": f"/batches/{batch}"})


def _line(photo: Photo) -> str:
    result = photo.result or Result.failed(photo.job.key, "not labelled")
    if result.status == "done":
        return f"{PurePosixPath(photo.job.name).stem}:{result.label or NOTHING.replace(' ', '_')}"
    return f"{photo.job.name}: {result.error}"
