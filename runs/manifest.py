"""A shard's manifest: the photos that one request message stands for. JSON lines, written once. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from shoal.errors import MalformedMessage
from shoal.safe_json import integer, read_object, text


@dataclass(frozen=True, slots=True)
class BulkPhoto:
    """A photo of a run: its key, the etag it had when it was listed ("" when it is not known), its size in bytes.

    bucket: where it is; empty for the run's own bucket.
    at:     the key of its object, where that is another than `key`.
    fault:  why it cannot be labelled: a line of a list that cannot be understood; then `key` is its beginning.
    """

    key: str
    etag: str = ""
    size: int = 0
    bucket: str = ""
    at: str = ""
    fault: str = ""

    @property
    def object_key(self) -> str:
        """The key of its object."""
        return self.at or self.key

    def to_dict(self) -> dict[str, Any]:
        """In JSON types."""
        told: dict[str, Any] = {"key": self.key, "etag": self.etag, "size": self.size}
        return told | {
            name: value for name, value in (("bucket", self.bucket), ("at", self.at), ("fault", self.fault)) if value
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> BulkPhoto:
        """Raises MalformedMessage."""
        try:
            names = ("key", "etag", "bucket", "at", "fault")
            key, etag, bucket, at, fault = (text(found.get(name, "")) for name in names)
            entry = cls(key, etag, integer(found.get("size", 0)), bucket, at, fault)
        except (TypeError, ValueError) as error:
            raise MalformedMessage(f"not a photo of a run: {error}") from error
        if not key:
            raise MalformedMessage("not a photo of a run: it has no key")
        return entry


@dataclass(frozen=True, slots=True)
class Manifest:
    """The photos of a shard, and the part of the listing that they were chosen from.

    through: the cursor of the last photo that was looked at for it, chosen or not (`runs.sources.PhotoSource`). The
             next shard begins after it.
    seen:    how many were looked at.
    """

    entries: tuple[BulkPhoto, ...]
    through: str
    seen: int

    def to_bytes(self) -> bytes:
        """The object: a first line about the shard, then a line for each photo."""
        head = {"through": self.through, "seen": self.seen, "images": len(self.entries)}
        return lines([head, *(one.to_dict() for one in self.entries)])

    @classmethod
    def from_bytes(cls, body: bytes) -> Manifest:
        """Raises MalformedMessage."""
        head, *rest = body.splitlines() or [b""]
        found = read_object(head, "a manifest")
        entries = tuple(BulkPhoto.from_dict(read_object(line, "a photo")) for line in rest)
        try:
            return cls(entries, text(found["through"]), integer(found["seen"]))
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessage(f"not a manifest: {error}") from error

    @property
    def size(self) -> int:
        """The bytes of its photos."""
        return sum(one.size for one in self.entries)


def lines(values: Sequence[dict[str, Any]]) -> bytes:
    """Each as a line of JSON. JSON escapes all that ends a line of bytes, whatever a key holds."""
    return b"".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")).encode() + b"\n" for one in values)
