"""The photos that one request offers, whatever its form: multipart, base64 in JSON, addresses to fetch from."""

from __future__ import annotations

import base64
import binascii
import io
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import IO, BinaryIO, Protocol

from shoal.errors import BadImage
from web_tier.intake.multipart import read_parts
from web_tier.outside.fetch import Fetcher
from web_tier.problems import Problem

FIELDS = ("inputFile", "myfile")
FETCHED_AHEAD = 8

NOTHING_CHOSEN = "No photo was chosen. Choose one or more photos first."
NO_FIELD = "There is no photo in this request. Send each as a file in the multipart field inputFile."


class OfferedPhoto(Protocol):
    """One photo.

    name:  as the client calls it.
    size:  bytes of it.
    body:  the bytes, at their start; None when they were too many or could not be had.
    error: why they could not be had; empty when there was nothing wrong but their number.
    """

    name: str
    size: int
    body: BinaryIO | None
    error: str

    def close(self) -> None:
        """Free the memory and the file. Whoever takes an offer closes it."""


class OfferedPhotos(Protocol):
    """All photos of a request, one by one. Iterating raises Problem when there is none."""

    @property
    def model(self) -> str:
        """The model that they ask for; empty for the default. Known when the first photo is."""

    def __iter__(self) -> Iterator[OfferedPhoto]: ...


class Form:
    """The photos of a multipart form, read as a stream; its field `model`, if any, stands before them."""

    def __init__(self, stream: IO[bytes], content_type: str, keep_bytes: int, model: str = "") -> None:
        self.model = model
        self._stream = stream
        self._content_type = content_type
        self._keep_bytes = keep_bytes

    def __iter__(self) -> Iterator[OfferedPhoto]:
        others: set[str] = set()
        found = chosen = False
        for part in read_parts(self._stream, self._content_type, self._keep_bytes):
            if part.file_name is None or part.field not in FIELDS:
                others.add(part.field)
                try:
                    self._note(part.field, part.body, chosen)
                finally:
                    part.close()
                continue
            found = True
            if not part.file_name and not part.size:
                part.close()  # what a browser sends when nothing was chosen
                continue
            chosen = True
            yield part
        if not found:
            raise Problem(400, f"{NO_FIELD}{_seen(others - {'model'})}")
        if not chosen:
            raise Problem(400, NOTHING_CHOSEN)

    def _note(self, field: str, body: BinaryIO | None, late: bool) -> None:
        if field != "model" or body is None:
            return
        if late:
            raise Problem(400, "The field model must stand before the photos.")
        self.model = body.read(200).decode(errors="replace").strip() or self.model


@dataclass
class Given:
    """A photo whose bytes are at hand, or the reason why they are not."""

    name: str
    body: BinaryIO | None
    size: int = 0
    error: str = ""

    def close(self) -> None:
        """Nothing to free."""


@dataclass(frozen=True, slots=True)
class Named:
    """A photo of a JSON request: `data` is base64, or `url` is where it is. One of them is empty."""

    name: str
    data: str
    url: str


class Listed:
    """The photos of a JSON request. Addresses are fetched a few at a time, ahead of need."""

    def __init__(self, photos: Sequence[Named], fetcher: Fetcher, fetchers: Executor, model: str = "") -> None:
        self.model = model
        self._photos = photos
        self._fetcher = fetcher
        self._fetchers = fetchers

    def __iter__(self) -> Iterator[OfferedPhoto]:
        if not self._photos:
            raise Problem(400, NOTHING_CHOSEN)
        ahead: deque[Given | Future[Given]] = deque()
        try:
            for photo in self._photos:
                ahead.append(self._fetchers.submit(self._fetch, photo) if photo.url else _decode(photo))
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
        return Given(photo.name or fetched.name, io.BytesIO(fetched.payload), len(fetched.payload))


def name_in(url: str) -> str:
    """A file name for an address that was not fetched."""
    return url.partition("?")[0].partition("#")[0].rstrip("/").rpartition("/")[2] or "unnamed"


def _decode(photo: Named) -> Given:
    try:
        payload = base64.b64decode(_without_prefix(photo.data), validate=True)
    except (binascii.Error, ValueError):
        return Given(photo.name, None, error="the data is not valid base64")
    return Given(photo.name, io.BytesIO(payload), len(payload))


def _without_prefix(data: str) -> str:
    """What follows `data:image/png;base64,` where a browser's FileReader put that in front."""
    head, comma, rest = data.partition(",")
    return rest if comma and head.startswith("data:") else data


def _done(one: Given | Future[Given]) -> Given:
    return one.result() if isinstance(one, Future) else one


def _seen(fields: set[str]) -> str:
    names = ", ".join(sorted(name[:40] for name in fields if name)[:5])
    return f" (It has: {names}.)" if names else ""
