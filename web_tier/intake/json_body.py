"""Reads the JSON body of a request as a stream, within limits, and the photos of a JSON submission.

Only photos in base64 may be long. Everything else is counted while it is read, and reading stops at the first limit. So
a hostile body costs no more memory or time than a good body. A small body needs no limits.
"""

from __future__ import annotations

import codecs
import gzip
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

from ijson.backends import yajl2_c  # the C backend: the others are too slow, so there is no second choice
from ijson.common import JSONError

from web_tier import words
from web_tier.intake.offers import Named
from web_tier.problems import Problem
from web_tier.schemas.check import RequestCheck
from web_tier.schemas.requests import SUBMISSION

CHUNK_BYTES = 64 * 1024
SMALL_BYTES = 64 * 1024  # read at once: whatever is in it takes a few milliseconds and megabytes
MOST_DEPTH = 16  # a submission needs 3
MOST_VALUES = 10_000  # values and names of fields; 1,000 photos need at most 7,000
MOST_STRING_CHARACTERS = 16 * 1024  # of a string that is not a photo; an address has at most 2,048
MOST_TEXT_CHARACTERS = 4 * 1024 * 1024  # of all strings that are not photos; 1,000 photos need at most 3,100,000
MOST_QUIET_BYTES = 6 * MOST_STRING_CHARACTERS  # without the end of a value: a character takes at most 6 bytes

NO_JSON = "The body is not valid JSON."

Path = tuple[str, ...]
"""Where a value is: the names of the fields from the outermost on; "*" stands for any name and for a list's entries."""

_check_submission = RequestCheck(SUBMISSION)


@dataclass(frozen=True, slots=True)
class SubmissionRequest:
    """What a JSON submission asks for. model, webhook: the model's name and an address; None where it gives none."""

    photos: tuple[Named, ...]
    model: str | None
    webhook: str | None


def read_submission(stream: IO[bytes]) -> SubmissionRequest:
    """Read a submission. Raises Problem (400, 413)."""
    body = json_object(stream, [("photos", "*", "data")])
    _check_submission(body)
    photos = (_photo(number, **photo) for number, photo in enumerate(body["photos"]))
    return SubmissionRequest(tuple(photos), body.get("model"), body.get("webhook"))


def unpacked(stream: IO[bytes], encoding: str, most_bytes: int) -> IO[bytes]:
    """The body behind a Content-Encoding: as it is, or unpacked from gzip while it is read.

    most_bytes: the limit for the unpacked body; reading past it raises Problem (413). Raises Problem (415) for another
    encoding; reading raises Problem (400) when the body is not valid gzip.
    """
    kind = encoding.strip().lower() or "identity"
    if kind == "identity":
        return stream
    if kind not in ("gzip", "x-gzip"):
        raise Problem(415, f"The Content-Encoding {encoding[:20]!r} is not read here: send the body plain or as gzip.")
    return cast("IO[bytes]", _Gunzipped(stream, most_bytes))


class _Gunzipped:
    """Reads a packed body; a bomb costs no more than one chunk beyond the limit."""

    def __init__(self, stream: IO[bytes], most_bytes: int) -> None:
        self._file = gzip.GzipFile(fileobj=stream)
        self._most_bytes = most_bytes
        self._left = most_bytes

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; empty at the end."""
        try:
            chunk = self._file.read(size)
        except (EOFError, OSError, zlib.error):
            raise Problem(400, "The body is not valid gzip, or is cut off.") from None
        self._left -= len(chunk)
        if self._left < 0:
            raise Problem(413, f"The unpacked body is too large: at most {words.size(self._most_bytes)} here.")
        return chunk


def json_object(stream: IO[bytes], photos: Sequence[Path] = ()) -> dict[str, Any]:
    """The JSON object in a body. photos: where long strings may be. Raises Problem (400 or 413)."""
    first = b""
    while len(first) <= SMALL_BYTES and (more := stream.read(CHUNK_BYTES)):
        first += more
    body = _large(first, stream, photos) if len(first) > SMALL_BYTES else _small(first)
    if not isinstance(body, dict):
        raise Problem(400, "The body is not a JSON object.")
    return body


def _small(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Problem(400, NO_JSON) from None


def _large(first: bytes, stream: IO[bytes], photos: Sequence[Path]) -> Any:
    document = _Document(photos)
    # use_float: numbers beyond 64 bits are refused. Without it, an integer of 5,000 digits breaks ijson.
    parser = yajl2_c.basic_parse_coro(document, use_float=True)
    try:
        chunk = first.removeprefix(codecs.BOM_UTF8)
        while chunk:
            document.quiet_bytes += len(chunk)
            parser.send(chunk)
            document.check_quiet()
            chunk = stream.read(CHUNK_BYTES)
        parser.close()
    except JSONError as error:
        raise Problem(400, "A number in the body is too large." if "overflow" in str(error) else NO_JSON) from None
    except UnicodeDecodeError:  # yajl finds other errors of UTF-8 itself
        raise Problem(400, NO_JSON) from None
    return document.value


class _Document:
    """Builds the value of a document from the parser's events, and counts. Of a repeated field, the last value stays.

    value:       the value, complete after the last event.
    quiet_bytes: how many bytes were parsed since the last event.
    """

    def __init__(self, photos: Sequence[Path]) -> None:
        self.value: Any = None
        self.quiet_bytes = 0
        self._photos = photos
        self._open: list[Any] = []  # the lists and objects around the next value
        self._path: list[str] = []  # for each of them: "*" in a list, else the name of the field; "" if there is none
        self._values = 0
        self._text = 0

    def send(self, event: tuple[str, Any]) -> None:
        """Take an event. The parser calls it. Raises Problem (400, 413)."""
        kind, value = event
        self.quiet_bytes = 0
        if kind == "start_map":
            self._start({}, "")
        elif kind == "start_array":
            self._start([], "*")
        elif kind in ("end_map", "end_array"):
            self._open.pop()
            self._path.pop()
            self._end_value()
        elif kind == "map_key":
            self._count(value)
            self._path[-1] = value
        else:
            self._count(value)
            self._add(value)
            self._end_value()

    def check_quiet(self) -> None:
        """Refuse a string that is too long before its end. Raises Problem (413)."""
        if self.quiet_bytes > MOST_QUIET_BYTES and not self._at_photo():
            raise _long_string()

    def _start(self, container: Any, step: str) -> None:
        if len(self._open) == MOST_DEPTH:
            raise Problem(400, f"The body is not valid JSON here: it has more than {MOST_DEPTH} levels.")
        self._count(None)
        self._add(container)
        self._open.append(container)
        self._path.append(step)

    def _count(self, value: Any) -> None:
        self._values += 1
        if self._values > MOST_VALUES:
            raise Problem(413, f"The body has more than {MOST_VALUES:,} values and names of fields.")
        if isinstance(value, str) and not self._at_photo():
            self._text += len(value)
            if len(value) > MOST_STRING_CHARACTERS:
                raise _long_string()
            if self._text > MOST_TEXT_CHARACTERS:
                raise Problem(413, f"The body has more than {MOST_TEXT_CHARACTERS:,} characters besides the photos.")

    def _add(self, value: Any) -> None:
        if not self._open:
            self.value = value
        elif isinstance(self._open[-1], list):
            self._open[-1].append(value)
        else:
            self._open[-1][self._path[-1]] = value

    def _end_value(self) -> None:
        if self._open and isinstance(self._open[-1], dict):
            self._path[-1] = ""

    def _at_photo(self) -> bool:
        return any(_matches(path, self._path) for path in self._photos)


def _matches(pattern: Path, path: Sequence[str]) -> bool:
    return len(pattern) == len(path) and all(one in ("*", step) for one, step in zip(pattern, path, strict=True))


def _long_string() -> Problem:
    most = f"{MOST_STRING_CHARACTERS:,} characters"
    return Problem(413, f"A string in the body is too long: at most {most}, unless it is a photo in base64.")


def _photo(number: int, name: str = "", data: str = "", url: str = "") -> Named:
    default = "" if url else f"photo-{number}"
    return Named(name or default, data, url)
