"""Why photos failed: the last error that a worker had with each, and the request messages that nobody could finish.

A worker that gives a message back writes `failures/<key of the photo>` into the output bucket; it is worth nothing
after a day. The sweeper takes dead letters out of their queue, answers them as failed, and keeps each with its error
in `buried/<key of the photo>`, until an operator sends it again or deletes it, or its batch is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from shoal.errors import MalformedMessage, NotFound
from shoal.ports import ObjectStore
from shoal.safe_json import integer, moment, read_object, text

FAILURES = "failures"
BURIED = "buried"
LONGEST = 500  # characters of an error

_UNREADABLE = (NotFound, MalformedMessage, KeyError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong with a photo.

    at:         when, in seconds since 1970; 0.0 for not known.
    worker:     where.
    deliveries: how often its message had been delivered by then.
    """

    error: str
    at: float = 0.0
    worker: str = ""
    deliveries: int = 0


@dataclass(frozen=True, slots=True)
class Buried:
    """A request message that became a dead letter and was answered as failed. failure: the last one, if it is known."""

    key: str
    body: str
    deliveries: int
    failure: Failure | None


def note(outputs: ObjectStore, key: str, failure: Failure) -> None:
    """Keep the last failure of a photo. May raise Retryable."""
    outputs.put(f"{FAILURES}/{key}", json.dumps(_plain(failure)).encode(), "application/json")


def last(outputs: ObjectStore, key: str) -> Failure | None:
    """The last failure of a photo, if one is known. May raise Retryable."""
    try:
        return _failure(read_object(outputs.get(f"{FAILURES}/{key}")))
    except _UNREADABLE:
        return None


def bury(outputs: ObjectStore, key: str, body: str, deliveries: int) -> None:
    """Keep a dead letter, with the last failure of its photo. May raise Retryable."""
    failure = last(outputs, key)
    kept = {"body": body, "deliveries": deliveries, "failure": _plain(failure) if failure else {}}
    outputs.put(f"{BURIED}/{key}", json.dumps(kept).encode(), "application/json")


def buried_keys(outputs: ObjectStore, most: int | None = None) -> list[str]:
    """The keys of the photos whose messages are buried, the oldest first. May raise Retryable.

    most: how many at most; all when None.
    """
    return [one.key.removeprefix(f"{BURIED}/") for one in islice(outputs.list(f"{BURIED}/"), most)]


def buried(outputs: ObjectStore, key: str) -> Buried | None:
    """A buried message; None if there is none, or one that cannot be read. May raise Retryable."""
    try:
        fields = read_object(outputs.get(f"{BURIED}/{key}"))
        failure = _failure(fields["failure"]) if fields["failure"] else None
        return Buried(key, text(fields["body"]), integer(fields["deliveries"]), failure)
    except _UNREADABLE:
        return None


def dig_up(outputs: ObjectStore, key: str) -> None:
    """Forget a buried message. May raise Retryable."""
    outputs.delete(f"{BURIED}/{key}")


def _plain(failure: Failure) -> dict[str, object]:
    """Its fields, with lone surrogates escaped, which no encoding takes."""
    error = failure.error[:LONGEST].encode(errors="backslashreplace").decode()
    return asdict(failure) | {"error": error, "at": round(failure.at, 3)}


def _failure(fields: Mapping[str, Any]) -> Failure:
    """Raises KeyError, TypeError or ValueError for fields that are none of ours."""
    return Failure(
        text(fields["error"])[: 2 * LONGEST],
        moment(fields["at"]),
        text(fields["worker"]),
        integer(fields["deliveries"]),
    )
