"""Reads the JSON body of a request, and the photos of a JSON submission."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, Any

from web_tier.intake.offers import Named
from web_tier.problems import Problem
from web_tier.schemas.check import RequestCheck
from web_tier.schemas.requests import MOST_JSON_BYTES, SUBMISSION

_check_submission = RequestCheck(SUBMISSION)


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """What a JSON submission asks for. model, webhook: the model's name and an address; None where it gives none."""

    photos: tuple[Named, ...]
    model: str | None
    webhook: str | None


def read_submission(stream: IO[bytes]) -> SubmissionRequest:
    """Read a submission. Raises Problem (400, 413)."""
    body = json_object(stream)
    _check_submission(body)
    photos = (_photo(number, **photo) for number, photo in enumerate(body["photos"]))
    return SubmissionRequest(tuple(photos), body.get("model"), body.get("webhook"))


def json_object(stream: IO[bytes]) -> dict[str, Any]:
    """The JSON object in a body. Raises Problem (400 or 413)."""
    text = stream.read(MOST_JSON_BYTES + 1)
    if len(text) > MOST_JSON_BYTES:
        raise Problem(413, f"A JSON body has at most {MOST_JSON_BYTES // 1024 // 1024} MB. Send a form instead.")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise Problem(400, "The body is not a JSON object.")
    return body


def _photo(number: int, name: str = "", data: str = "", url: str = "") -> Named:
    default = "" if url else f"photo-{number}"
    return Named(name or default, data, url)
