"""Reads S3's own event messages: a bucket can announce new photos in the request queue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

from shoal.errors import MalformedMessage
from shoal.messages import SHOWN, Job, is_job_key, safe_name
from shoal.safe_json import integer, read_object, text

NOBODY = "-"  # the reply_to of a photo for whose response nobody waits

_UNSET = (
    "an event of S3, and SHOAL_INTAKE_PREFIX is not set, which lets notifications of the input bucket bring photos in"
)


@dataclass(frozen=True, slots=True)
class AnnouncedPhoto(Job):
    """A photo that others stored in the input bucket. Its result gets the same key in the output bucket."""

    object_key: str = ""

    @property
    def key(self) -> str:
        return self.object_key


class BucketEvents:
    """Reads events of one bucket.

    bucket:     the name of the input bucket.
    prefix:     where in it the photos are that S3 announces; empty for nowhere.
    most_bytes: the size of the largest photo.
    """

    def __init__(self, bucket: str = "", prefix: str = "", most_bytes: int = 0) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._most_bytes = most_bytes

    def photo(self, event: dict[str, Any]) -> Job | None:
        """The photo that an event announces; None if there is nothing to do. Raises MalformedMessage, with a reason.

        There is nothing to do for a test of S3, a deleted object, a folder, and photos that Shoal itself stored: they
        have messages of their own.
        """
        if not self._prefix:
            raise MalformedMessage(_UNSET)
        if "Records" not in event:
            self._check_bucket(event.get("Bucket"))
            return None
        if len(event["Records"]) != 1:
            raise MalformedMessage(f"an event of S3 with {len(event['Records'])} records; S3 sends one in a message")
        try:
            return self._photo(event["Records"][0])
        except (KeyError, TypeError, ValueError) as error:
            raise MalformedMessage(f"an event of S3 with malformed fields: {str(error)[:SHOWN]}") from error

    def _photo(self, record: dict[str, Any]) -> Job | None:
        self._check_bucket(record["s3"]["bucket"]["name"])
        key = unquote_plus(text(record["s3"]["object"]["key"]))
        if not text(record["eventName"]).startswith("ObjectCreated:") or key.endswith("/") or is_job_key(key):
            return None
        if not key.startswith(self._prefix):
            raise MalformedMessage(f"an event of S3 of {key[:SHOWN]!r}, which is not under {self._prefix!r}")
        size = integer(record["s3"]["object"].get("size", 0))
        if size > self._most_bytes:
            raise MalformedMessage(f"{key[:SHOWN]!r} has {size:,} bytes; at most {self._most_bytes:,} are accepted")
        return AnnouncedPhoto("", 0, safe_name(key), NOBODY, object_key=key)

    def _check_bucket(self, name: object) -> None:
        if name != self._bucket:
            raise MalformedMessage(f"an event of S3 of {str(name)[:SHOWN]!r}, which is not the input bucket")


def read_event(body: str) -> dict[str, Any] | None:
    """The fields of an event message of S3; None if it is none."""
    try:
        fields = read_object(body)
    except MalformedMessage:
        return None
    if fields.get("Event") == "s3:TestEvent":
        return fields
    records = fields.get("Records")
    is_event = isinstance(records, list) and all(
        isinstance(record, dict) and record.get("eventSource") == "aws:s3" for record in records
    )
    return fields if is_event else None
