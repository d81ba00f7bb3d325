"""The records below `accounts/` in the output bucket: small JSON objects, each of one thing."""

from __future__ import annotations

import json
from typing import Any

from shoal.errors import MalformedMessage, NotFound
from shoal.ports import ObjectStore
from shoal.safe_json import read_object

FOLDER = "accounts"
LONGEST_NAME = 64
_TYPE = "application/json"


def place(kind: str, name: str) -> str:
    """The key of a record, such as `accounts/users/alice`."""
    return f"{FOLDER}/{kind}/{name}"


def read(outputs: ObjectStore, key: str) -> dict[str, Any] | None:
    """A record, or None if there is none that can be read. May raise Retryable."""
    try:
        return dict(read_object(outputs.get(key)))
    except (NotFound, MalformedMessage):
        return None


def write(outputs: ObjectStore, key: str, record: dict[str, Any]) -> None:
    """Write or replace a record. May raise Retryable."""
    outputs.put(key, _bytes(record), _TYPE)


def write_new(outputs: ObjectStore, key: str, record: dict[str, Any]) -> bool:
    """Write a record unless there is one. Returns True when it was written. May raise Retryable."""
    return outputs.put_new(key, _bytes(record), _TYPE)


def names(outputs: ObjectStore, kind: str) -> list[str]:
    """The names of all records of a kind, sorted. May raise Retryable."""
    folder = place(kind, "")
    return [one.key.removeprefix(folder) for one in outputs.list(folder)]


def _bytes(record: dict[str, Any]) -> bytes:
    return json.dumps(record).encode()
