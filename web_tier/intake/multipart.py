"""Reads a multipart form as a stream: one file at a time, small files in memory, large files on disk."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Generator, Iterator
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import IO, Any, BinaryIO, cast

from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import NEED_DATA, Data, Epilogue, Event, Field, File, MultipartDecoder

from web_tier.intake import form_header
from web_tier.problems import Problem

CHUNK_BYTES = 64 * 1024
IN_MEMORY_BYTES = 256 * 1024
LONGEST_HEADER_BYTES = 256 * 1024  # of one part, and of the text before the first part and after the last


# The value of the header, with the lines that continue it.
_DISPOSITION = re.compile(
    rb"(?:^|[\r\n])[ \t]*content-disposition[ \t]*:((?:[^\r\n]|\r?\n[ \t]|\r[ \t])*)", re.IGNORECASE
)
# What libraries for e-mail write.
_IN_BASE64 = re.compile(rb"(?:^|[\r\n])[ \t]*content-transfer-encoding[ \t]*:[ \t]*base64\b", re.IGNORECASE)

NO_FORM = "Send the photos as multipart/form-data, in the field inputFile."
NO_BOUNDARY = (
    "The Content-Type multipart/form-data has no boundary: let your HTTP library write this header, "
    "and send the photos in the field inputFile."
)


class Part:
    """One field of a form.

    field:     the name of the form field.
    file_name: the file name from the client; None for a field that is not a file.
    name:      the same, but empty instead of None.
    size:      the number of bytes of the file.
    body:      the bytes, ready to be read; None when they were more than the limit, or could not be decoded.
    error:     why they could not be decoded; empty otherwise.
    """

    def __init__(self, field: str, file_name: str | None, keep_bytes: int, in_base64: bool = False) -> None:
        self.error = ""
        self._base64: bytes | None = b"" if in_base64 else None  # what is not decoded yet
        self.field = field
        self.file_name = file_name
        self.name = file_name or ""
        self.size = 0
        self._keep_bytes = keep_bytes
        spool = SpooledTemporaryFile(max_size=IN_MEMORY_BYTES)  # noqa: SIM115 - `close` closes it
        self.body: BinaryIO | None = cast(BinaryIO, spool)

    def write(self, data: bytes) -> None:
        """Add bytes. Above the limit, drop all of them."""
        if self._base64 is not None:
            data = self._decode(data)
        self.size += len(data)
        if self.size > self._keep_bytes:
            self.close()
        elif self.body is not None:
            self.body.write(data)

    def finish(self) -> None:
        """Turn from writing to reading."""
        if self._base64:
            self._fail()
        if self.body is not None:
            self.body.seek(0)

    def _decode(self, data: bytes) -> bytes:
        packed = (self._base64 or b"") + data.translate(None, b" \t\r\n")
        whole = len(packed) // 4 * 4
        self._base64 = packed[whole:]
        try:
            return base64.b64decode(packed[:whole], validate=True)
        except binascii.Error:
            self._fail()
            return b""

    def _fail(self) -> None:
        self.error = "the data is not valid base64"
        self.close()

    def close(self) -> None:
        """Free the memory and the file."""
        if self.body is not None:
            self.body.close()
            self.body = None


def check_encoding(encoding: str) -> None:
    """Raise Problem (415) for a form with a Content-Encoding: unpacked, it could be without end."""
    if encoding.strip().lower() not in ("", "identity"):
        raise Problem(415, f"A form with the Content-Encoding {encoding[:20]!r} is not read here: send it plain.")


def read_parts(stream: IO[bytes], content_type: str, keep_bytes: int) -> Iterator[Part]:
    """The fields of the form in `stream`, each as soon as it is complete. The reader of a field closes it.

    keep_bytes: the limit for one part; a longer part is read to its end but not kept.
    Raises Problem (400) when the body is not a well-formed form.
    """
    decoder = _Decoder(_boundary(content_type))
    part: Part | None = None
    try:
        for event in _events(stream, decoder):
            if isinstance(event, Field | File):
                part = Part(*decoder.names, keep_bytes, decoder.in_base64)
            elif isinstance(event, Data) and part is not None:
                part.write(event.data)
                if not event.more_data:
                    part.finish()
                    complete, part = part, None
                    yield complete
    finally:
        if part is not None:
            part.close()


def _boundary(content_type: str) -> bytes:
    """The boundary in a Content-Type, quoted or not. Raises Problem (400)."""
    if content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise Problem(400, NO_FORM)
    boundary = form_header.parameters(content_type).get("boundary", "").strip()
    if not boundary:
        raise Problem(400, NO_BOUNDARY)
    return boundary.encode(errors="replace")


class _BoundarySearch:
    """The decoder's expression for a boundary, which looks only near the first place that can have one.

    It would try each byte of a photo in turn: a third of the time that reading a form takes.
    """

    def __init__(self, line: bytes, expression: re.Pattern[bytes]) -> None:
        self._line = line
        self._expression = expression

    def search(self, data: bytes | bytearray) -> re.Match[bytes] | None:
        """As the expression does: a line break of one or two bytes stands before the boundary."""
        return self._expression.search(data, max(0, data.find(self._line) - 2))


class _Decoder(MultipartDecoder):
    """Reads names in any encoding.

    names:     the name of the field and the file name (None if it is not a file) of the last part.
    in_base64: whether its bytes are in base64.
    """

    def __init__(self, boundary: bytes) -> None:
        super().__init__(boundary, max_form_memory_size=LONGEST_HEADER_BYTES)
        self.boundary_re = cast(Any, _BoundarySearch(b"--" + boundary, self.boundary_re))
        self.names: tuple[str, str | None] = ("", None)
        self.in_base64 = False

    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        """Read the header of a part; the original takes UTF-8 only. Raises ValueError without a Content-Disposition."""
        disposition = _DISPOSITION.search(data)
        if disposition is None:
            raise ValueError("a part has no Content-Disposition")
        self.in_base64 = _IN_BASE64.search(data) is not None
        found = form_header.parameters(disposition[1].decode("latin-1"))
        name = found.get("filename")
        self.names = found.get("name", ""), None if name is None else form_header.file_name(name)
        # The original makes events from this.
        return Headers({"Content-Disposition": "form-data; name=x" + ("" if name is None else "; filename=x")})


def _events(stream: IO[bytes], decoder: MultipartDecoder) -> Iterator[Event]:
    ended = False
    while not ended:
        chunk = stream.read(CHUNK_BYTES)
        try:
            decoder.receive_data(chunk or None)
            ended = yield from _decoded(decoder)
        except (ValueError, RequestEntityTooLarge):
            drain(stream)
            raise Problem(400, "The form is cut off or malformed: it is not valid multipart/form-data.") from None


def _decoded(decoder: MultipartDecoder) -> Generator[Event, None, bool]:
    """The events in the bytes so far. Returns whether the form has ended."""
    while (event := decoder.next_event()) is not NEED_DATA:
        if isinstance(event, Epilogue):
            return True
        yield event
    return False


def drain(stream: IO[bytes]) -> None:
    """Read the rest of a body: a client that still sends would see a broken connection instead of the answer."""
    with suppress(OSError):
        while stream.read(CHUNK_BYTES):
            pass
