"""The photos of a request: from a multipart form, from base64 in JSON, or fetched from addresses."""

from __future__ import annotations

import base64
import binascii
import difflib
import io
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, BinaryIO, Protocol, cast
from urllib.parse import unquote

from shoal.errors import BadImage
from web_tier.intake.multipart import CHUNK_BYTES, IN_MEMORY_BYTES, read_parts
from web_tier.outside.fair_threads import FairThreads
from web_tier.outside.fetch import Fetcher
from web_tier.problems import Problem

FIELDS = ("inputFile", "myfile")
PASSED = ("model", "_charset_")  # the second is RFC 7578's: file names are read in any encoding without it
FETCHED_AHEAD = 8
MOST_FIELDS_NOTED = 100  # names of fields without a photo that are remembered for an error

_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n"

NOTHING_CHOSEN = "No photo was chosen. Choose one or more photos first."
NO_FIELD = "There is no photo in this request. Send each as a file in the multipart field inputFile."


class OfferedPhoto(Protocol):
    """One photo of a request.

    name:  the file name from the client.
    size:  the number of bytes.
    body:  the bytes, ready to be read; None when the photo is too large or could not be read.
    error: why it could not be read; empty otherwise, also when it is too large.
    """

    name: str
    size: int
    body: BinaryIO | None
    error: str

    def close(self) -> None:
        """Free the memory and the file. The reader of a photo closes it."""


class OfferedPhotos(Protocol):
    """The photos of a request, one after the other. Iterating raises Problem when there are none.

    whole: whether the request was read to its end before the first photo.
    """

    @property
    def whole(self) -> bool: ...

    @property
    def model(self) -> str:
        """The model that the request names; empty for the default. Valid once the first photo was read."""

    def __iter__(self) -> Iterator[OfferedPhoto]: ...


class Counted:
    """Photos that are counted while they are read. one: called for each; raises when it is one too many."""

    def __init__(self, offers: OfferedPhotos, one: Callable[[], None]) -> None:
        self._offers = offers
        self._one = one

    @property
    def whole(self) -> bool:
        """As of the offers."""
        return self._offers.whole

    @property
    def model(self) -> str:
        """As of the offers."""
        return self._offers.model

    def __iter__(self) -> Iterator[OfferedPhoto]:
        for offer in self._offers:
            try:
                self._one()
            except BaseException:
                offer.close()
                raise
            yield offer


class Form:
    """The photos of a multipart form, read as a stream. A field `model` must stand before them.

    beside: names that belong into the query. With any, a field of the form that Shoal does not know is refused: a
            misspelt one would change nothing, and nobody would notice. Without, it is passed over.
    """

    whole = False

    def __init__(
        self, stream: IO[bytes], content_type: str, keep_bytes: int, model: str = "", beside: Collection[str] = ()
    ) -> None:
        self.model = model
        self._beside = beside
        self._stream = stream
        self._content_type = content_type
        self._keep_bytes = keep_bytes

    def __iter__(self) -> Iterator[OfferedPhoto]:
        others: set[str] = set()
        found = chosen = False
        for part in read_parts(self._stream, self._content_type, self._keep_bytes):
            if part.file_name is None or part.field not in FIELDS:
                if len(others) < MOST_FIELDS_NOTED:
                    others.add(part.field[:40])
                try:
                    self._note(part.field, part.body, chosen)
                finally:
                    part.close()
                continue
            found = True
            if not part.file_name and not part.size:
                part.close()  # a browser sends such a part when no file was chosen
                continue
            chosen = True
            yield part
        if not found:
            raise Problem(400, f"{NO_FIELD}{_seen(others - {'model'})}")
        if not chosen:
            raise Problem(400, NOTHING_CHOSEN)

    def _note(self, field: str, body: BinaryIO | None, late: bool) -> None:
        if field not in PASSED and self._beside:
            raise Problem(400, _unknown(field[:40], self._beside))
        if field != "model" or body is None:
            return
        if late:
            raise Problem(400, "The field model must stand before the photos.")
        self.model = body.read(200).decode(errors="replace").strip() or self.model


@dataclass
class Given:
    """A photo in memory, or the reason why it could not be read."""

    name: str
    body: BinaryIO | None
    size: int = 0
    error: str = ""

    def close(self) -> None:
        """Free the memory or the file."""
        if self.body:
            self.body.close()


@dataclass(frozen=True, slots=True)
class Named:
    """A photo of a JSON request. data: base64; url: its address. One of them is empty."""

    name: str
    data: str
    url: str


class Single:
    """The photo that is the body of a request. Of one that is larger than `keep_bytes` nothing is kept."""

    whole = True

    def __init__(self, name: str, stream: IO[bytes], keep_bytes: int, model: str = "") -> None:
        self.model = model
        self._name = name
        self._stream = stream
        self._keep_bytes = keep_bytes

    def __iter__(self) -> Iterator[OfferedPhoto]:
        payload = b"".join(iter(lambda: self._stream.read(CHUNK_BYTES), b""))  # a packed body ends at its limit
        if not payload:
            raise Problem(400, "The body is empty. Send the bytes of a photo.")
        kept = len(payload) <= self._keep_bytes
        yield Given(self._name, io.BytesIO(payload) if kept else None, len(payload))


class Listed:
    """The photos of a JSON request. A few addresses are fetched ahead, at the same time.

    client: the address of who asks.
    """

    whole = True

    def __init__(
        self, photos: Sequence[Named], fetcher: Fetcher, fetchers: FairThreads, client: str, model: str = ""
    ) -> None:
        self.model = model
        self._photos = photos
        self._fetcher = fetcher
        self._fetchers = fetchers
        self._client = client

    def __iter__(self) -> Iterator[OfferedPhoto]:
        if not self._photos:
            raise Problem(400, NOTHING_CHOSEN)
        ahead: deque[Given | Future[Given]] = deque()
        try:
            for photo in self._photos:
                ahead.append(self._fetchers.submit(self._client, self._fetch, photo) if photo.url else _decode(photo))
                if len(ahead) >= FETCHED_AHEAD:
                    yield _done(ahead.popleft())
            while ahead:
                yield _done(ahead.popleft())
        finally:
            for one in ahead:
                if isinstance(one, Future):
                    one.cancel()

    def _fetch(self, photo: Named) -> Given:
        try:
            fetched = self._fetcher.fetch(photo.url)
        except BadImage as error:
            return Given(photo.name or name_in(photo.url), None, error=str(error))
        # A few large photos wait here at the same time: on disk.
        body = cast(BinaryIO, SpooledTemporaryFile(max_size=IN_MEMORY_BYTES))  # noqa: SIM115 - `close` closes it
        body.write(fetched.payload)
        body.seek(0)
        return Given(photo.name or fetched.name, body, len(fetched.payload))


def name_in(url: str) -> str:
    """The file name for an address that was not fetched."""
    return url.partition("?")[0].partition("#")[0].rstrip("/").rpartition("/")[2] or "unnamed"


def _decode(photo: Named) -> Given:
    try:
        payload = _from_base64(photo.data)
    except (binascii.Error, ValueError):
        return Given(photo.name, None, error="the data is not valid base64")
    return Given(photo.name, io.BytesIO(payload), len(payload))


def _from_base64(text: str) -> bytes:
    """Decode base64 as libraries write it: with line ends, in the URL alphabet, without padding, as a `data:` URL.

    Raises binascii.Error or ValueError.
    """
    head, comma, rest = text.partition(",")
    if comma and head.strip()[:5].lower() == "data:":
        text = unquote(rest)
    packed = text.encode("ascii").translate(_STANDARD_ALPHABET, _BLANKS).rstrip(b"=")
    return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)


def _done(photo: Given | Future[Given]) -> Given:
    return photo.result() if isinstance(photo, Future) else photo


def _unknown(field: str, beside: Collection[str]) -> str:
    told = f"There is no field {field!r} in this form."
    if close := difflib.get_close_matches(field, [*beside, "model", *FIELDS], n=1):
        return f"{told} " + (f"Give {close[0]} in the query." if close[0] in beside else f"Did you mean {close[0]}?")
    return f"{told} Send each photo as a file in the multipart field inputFile, and before them model, if any."


def _seen(fields: set[str]) -> str:
    names = ", ".join(sorted(name for name in fields if name)[:5])
    return f" (It has: {names}.)" if names else ""
