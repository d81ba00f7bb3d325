"""The JSON body of a submission, checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import IO, Any

from web_tier.intake.offers import Named
from web_tier.problems import Problem

MOST_BYTES = 64 * 1024 * 1024
MOST_PHOTOS = 1_000
LONGEST_NAME = 1_000


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """What a JSON submission asks for: photos, the model's name and the webhook's address, None where it has none."""

    photos: tuple[Named, ...]
    model: str | None
    webhook: str | None


def read_submission(stream: IO[bytes]) -> SubmissionRequest:
    """Read `{"model", "webhook", "photos": [{"name", "data"} or {"name", "url"}, ...]}`. Raises Problem (400, 413)."""
    body = json_object(stream)
    photos = body.get("photos")
    if not isinstance(photos, list) or not photos:
        raise Problem(400, 'The body has no "photos", a list of at least one photo.')
    if len(photos) > MOST_PHOTOS:
        raise Problem(400, f"A JSON submission has at most {MOST_PHOTOS:,} photos. Send them in several, or as a form.")
    model, webhook = optional_text(body, "model", "the name of a model"), optional_text(body, "webhook", "an address")
    return SubmissionRequest(tuple(_photo(number, photo) for number, photo in enumerate(photos)), model, webhook)


def optional_text(body: dict[str, Any], name: str, what: str) -> str | None:
    """The text under `name`, which is `what`; None when there is none. Raises Problem (400)."""
    text = body.get(name)
    if not isinstance(text, str | None) or (name in body and text is None):
        raise Problem(400, f'"{name}" must be {what}.')
    return text


def json_object(stream: IO[bytes]) -> dict[str, Any]:
    """The JSON object in a body. Raises Problem (400 or 413)."""
    text = stream.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise Problem(413, f"A JSON submission has at most {MOST_BYTES // 1024 // 1024} MB. Send a form instead.")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise Problem(400, "The body is not valid JSON.") from None
    if not isinstance(body, dict):
        raise Problem(400, "The body is not a JSON object.")
    return body


def _photo(number: int, photo: Any) -> Named:
    if not isinstance(photo, dict):
        raise Problem(400, f"photos[{number}] is not an object.")
    if others := sorted(photo.keys() - {"name", "data", "url"}):
        raise Problem(400, f"photos[{number}] has an unknown field {others[0][:40]!r}; known are name, data and url.")
    fields = {name: photo.get(name, "") for name in ("name", "data", "url")}
    for name, value in fields.items():
        if not isinstance(value, str) or (name == "name" and len(value) > LONGEST_NAME):
            raise Problem(400, f"photos[{number}].{name} is not a string, or too long.")
    if ("data" in photo) == ("url" in photo) or fields["data"] == fields["url"] == "":
        raise Problem(400, f"photos[{number}] needs either data (base64) or url, and not both.")
    return Named(fields["name"] or _usual_name(number, fields["url"]), fields["data"], fields["url"])


def _usual_name(number: int, url: str) -> str:
    return "" if url else f"photo-{number}"
