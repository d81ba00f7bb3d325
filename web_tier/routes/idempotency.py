"""Idempotency keys: a request that is sent again, because its answer was lost, makes no second batch.

The first request with a key writes down which batch it makes. A later one with the same key works on the same batch:
it writes the same objects again, which does no harm, and so completes what the first may have left undone. What
tells two requests apart is the length of their bodies and the model they ask for.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import request

from shoal.errors import NotFound
from shoal.messages import is_batch
from web_tier.problems import Problem
from web_tier.services import services

_KEY = re.compile(r"[A-Za-z0-9_-]{1,255}")
FOLDER = "idempotency"


@dataclass(frozen=True, slots=True)
class Claim:
    """The batch that a request works on, and whether an earlier one with the same key has finished its part."""

    batch: str
    complete: bool
    finish: Callable[[], None]


def claim(fresh: str) -> Claim:
    """The batch of the current request: `fresh`, or the one that the first request with its key made.

    Raises Problem: 400 for a key that is none, 409 when it was used for another request. May raise Retryable.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return Claim(fresh, False, lambda: None)
    if not _KEY.fullmatch(key):
        raise Problem(400, "The Idempotency-Key must be 1 to 255 letters, digits, hyphens and underscores.")
    place = f"{FOLDER}/{hashlib.sha256(key.encode()).hexdigest()}"
    record: dict[str, Any] = {"batch": fresh, "request": _fingerprint(), "complete": False}
    if not services().cloud.outputs.put_new(place, _json(record), "application/json"):
        record = _read(place)
    if record["request"] != _fingerprint():
        raise Problem(409, "This Idempotency-Key was used for another request.")
    finished = record | {"complete": True}
    outputs = services().cloud.outputs
    return Claim(record["batch"], record["complete"], lambda: outputs.put(place, _json(finished), "application/json"))


def _fingerprint() -> str:
    words = [request.mimetype, str(request.content_length), request.args.get("model", "")]
    return " ".join([*words, *request.args.getlist("webhook")])


def _read(place: str) -> dict[str, Any]:
    try:
        record = json.loads(services().cloud.outputs.get(place))
        if is_batch(record["batch"]) and isinstance(record["complete"], bool) and isinstance(record["request"], str):
            return dict(record)
    except (NotFound, ValueError, KeyError, TypeError):
        pass
    raise Problem(409, "What was kept for this Idempotency-Key cannot be read. Use another one.")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()
