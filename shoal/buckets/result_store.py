"""Stores results; a photo that a person has cancelled stays cancelled."""

from __future__ import annotations

from shoal.errors import MalformedMessage, NotFound
from shoal.messages import Result
from shoal.ports import ObjectStore


def store_result(outputs: ObjectStore, result: Result) -> Result:
    """Store a result and return the one that holds now: this one, or the cancellation that was there before.

    Any other result is overwritten: a photo that is labelled again gets its new label. May raise Retryable.
    """
    body = result.to_json().encode()
    if outputs.put_new(result.key, body, "application/json"):
        return result
    if (known := _read(outputs, result.key)) and known.is_cancelled:
        return known
    outputs.put(result.key, body, "application/json")
    return result


def _read(outputs: ObjectStore, key: str) -> Result | None:
    try:
        return Result.from_json(outputs.get(key).decode(errors="replace"))
    except (NotFound, MalformedMessage):
        return None
