"""Messages in the request queue that are not Shoal's: copied to the output bucket, until a person deletes them.

A queue forgets a message after 14 days at most.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass

from shoal.errors import MalformedMessage, NotFound
from shoal.ports import ObjectStore
from shoal.safe_json import read_object, text

FOLDER = "foreign"


@dataclass(frozen=True, slots=True)
class ForeignMessage:
    """A message that is not a job. reason: why it is none. name: of its copy; "" before it is kept."""

    body: str
    reason: str
    name: str = ""


def keep(outputs: ObjectStore, message: ForeignMessage) -> None:
    """Store a copy. The same message is stored once. May raise Retryable."""
    digest = hashlib.sha256(message.body.encode(errors="surrogatepass")).hexdigest()
    stored = json.dumps({"reason": _plain(message.reason), "body": _plain(message.body)})
    outputs.put_new(f"{FOLDER}/{digest}.json", stored.encode(), "application/json")


def kept(outputs: ObjectStore, most: int | None = None) -> list[ForeignMessage]:
    """The stored messages, `most` of them at most. May raise Retryable."""
    return [_read(outputs, key) for key in _keys(outputs)[:most]]


def count(outputs: ObjectStore) -> int:
    """The number of stored messages. May raise Retryable."""
    return len(_keys(outputs))


def delete(outputs: ObjectStore, names: Collection[str] | None = None) -> int:
    """Delete the stored messages, or those with these names. Returns their number. May raise Retryable."""
    keys = [key for key in _keys(outputs) if names is None or _name(key) in names]
    for key in keys:
        outputs.delete(key)
    return len(keys)


def _keys(outputs: ObjectStore) -> list[str]:
    return [stored.key for stored in outputs.list(f"{FOLDER}/")]


def _name(key: str) -> str:
    return key.removeprefix(f"{FOLDER}/")


def _read(outputs: ObjectStore, key: str) -> ForeignMessage:
    try:
        fields = read_object(outputs.get(key))
        return ForeignMessage(text(fields.get("body")), text(fields.get("reason")), _name(key))
    except (NotFound, MalformedMessage, TypeError) as error:
        return ForeignMessage("", f"its copy {key} cannot be read: {error}", _name(key))


def _plain(words: str) -> str:
    """The words with lone surrogates escaped, which no encoding takes."""
    return words.encode(errors="backslashreplace").decode()
