"""What is fuzzed: readers of what strangers send. Each takes any bytes, and raises nothing but what it promises."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress

from app_tier.bucket_events import BucketEvents
from inference import images, private_data
from shoal.errors import BadImage, MalformedMessage
from shoal.messages import Job, Result
from shoal.safe_json import read_object
from web_tier.intake.json_body import read_submission
from web_tier.intake.multipart import read_parts
from web_tier.outside import addresses
from web_tier.problems import Problem

MOST_BYTES = 100_000
MOST_PIXELS = 1_000_000

_EVENTS = BucketEvents("shoal-in-bucket", "incoming/", MOST_BYTES)


def multipart(data: bytes) -> None:
    """A form; the first line is its Content-Type."""
    kind, _, body = data.partition(b"\n")
    with suppress(Problem):
        for part in read_parts(io.BytesIO(body), kind.decode("latin-1"), MOST_BYTES):
            part.close()


def submission(data: bytes) -> None:
    """A JSON submission, read whole and, above 64 KB, as a stream."""
    for body in (data, b" " * 66_000 + data):
        with suppress(Problem):
            read_submission(io.BytesIO(body))


def messages(data: bytes) -> None:
    """A request message, a response message and an event of the bucket."""
    text = data.decode(errors="surrogateescape")
    with suppress(MalformedMessage):
        job = Job.from_json(text)
        assert Job.from_key(job.key, job.reply_to).key == job.key
    with suppress(MalformedMessage):
        assert Result.from_json(data).to_json()
    with suppress(MalformedMessage):
        _EVENTS.photo(read_object(text))


def image_headers(data: bytes) -> None:
    """The header of a photo, and the photo without its private data."""
    with suppress(BadImage):
        images.inspect(io.BytesIO(data), MOST_BYTES, MOST_PIXELS)
    with suppress(BadImage):
        clean = private_data.removed(data)
        assert len(clean) <= len(data) + 200


def address(data: bytes) -> None:
    """The address of a photo, and a redirect from it to the second line."""
    first, _, second = data.decode("latin-1").partition("\n")
    with suppress(BadImage):
        found = addresses.parse(first)
        assert addresses.parse(found.url) == found  # two readers see one host
        addresses.public(found.host)
        addresses.follow(found, second)


TARGETS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (multipart, submission, messages, image_headers, address)
}
