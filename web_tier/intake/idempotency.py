"""Idempotency keys: a request that is sent again, because its answer was lost, makes no second batch.

The first request with a key stores which batch it makes. A later request with the same key works on the same batch. It
writes the same objects again, which is harmless, and so completes what the first request left undone. Two requests
with one key are the same request when the lengths of their bodies and their parameters are equal.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shoal.errors import MalformedMessage, NotFound
from shoal.messages import is_batch
from shoal.ports import ObjectStore
from shoal.safe_json import read_object
from web_tier.problems import Problem
from web_tier.schemas.check import RequestCheck
from web_tier.schemas.requests import IDEMPOTENCY_KEY

FOLDER = "idempotency"

_check_key = RequestCheck(IDEMPOTENCY_KEY, "The Idempotency-Key")


@dataclass(frozen=True, slots=True)
class Claim:
    """The batch that a request works on. complete: an earlier request with the same key has finished its intake."""

    batch: str
    complete: bool
    finish: Callable[[], None]


def claim(outputs: ObjectStore, key: str | None, fingerprint: str, fresh: str) -> Claim:
    """The batch of a request: `fresh`, or the batch that the first request with the same key made.

    fingerprint: equal for two requests that may be the same.
    Raises Problem: 400 for an invalid key, 409 for a key that another request used. May raise Retryable.
    """
    if key is None:
        return Claim(fresh, False, lambda: None)
    _check_key(key)
    path = f"{FOLDER}/{hashlib.sha256(key.encode()).hexdigest()}"
    record: dict[str, Any] = {"batch": fresh, "request": fingerprint, "complete": False}
    if not outputs.put_new(path, _json(record), "application/json"):
        record = _read(outputs, path)
    if record["request"] != fingerprint:
        raise Problem(409, "This Idempotency-Key was used for another request.")
    finished = _json(record | {"complete": True})
    return Claim(record["batch"], record["complete"], lambda: outputs.put(path, finished, "application/json"))


def _read(outputs: ObjectStore, path: str) -> dict[str, Any]:
    try:
        record = read_object(outputs.get(path))
        if is_batch(record["batch"]) and isinstance(record["complete"], bool) and isinstance(record["request"], str):
            return dict(record)
    except (NotFound, MalformedMessage, KeyError, TypeError):
        pass
    raise Problem(409, "The stored record of this Idempotency-Key cannot be read. Use another key.")


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()
