"""Fetches photos by URL safely: from public addresses only, with limits on size and time.

The bytes say what a file is: servers send photos with any Content-Type, and pages as `image/jpeg`.

Strangers choose the URL, so they could point the server at its own network (the metadata endpoint, its neighbours). A
host is therefore resolved once, all its IP addresses must be public, and the connection goes to an address that was
checked. Each redirect is checked in the same way. One deadline holds for the whole fetch.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import time
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, unquote, urlsplit

from shoal.errors import BadImage
from shoal.messages import safe_name
from web_tier.outside.addresses import WebAddress, follow, parse
from web_tier.outside.guarded_connection import Dial, GuardedConnections, Resolve, dial, resolve

log = logging.getLogger(__name__)

REDIRECTS = 5
_CHUNK = 64 * 1024
_REDIRECTED = (301, 302, 303, 307, 308)
_INTERIM = range(100, 200)  # 103 Early Hints, for example; 101 is never asked for
_MOST_INTERIM = 10
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

_GZIP = b"\x1f\x8b"
_ZLIB = tuple(bytes([0x78, level]) for level in (0x01, 0x5E, 0x9C, 0xDA))
_GZIP_OR_ZLIB = 47  # the `wbits` of zlib that tells them apart
_RAW = -15  # deflate without a header, as some servers send it
_NOT_UNPACKED = {"br", "zstd", "compress", "x-compress"}
_TEXT_STARTS = (b"<", b"{", b"[")  # of pages and of messages about errors; no photo begins so


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file from the network. name: the last part of its address."""

    name: str
    payload: bytes


class Fetcher:
    """Fetches files. One instance serves all requests; safe for many threads.

    max_bytes: the largest file that is fetched.
    seconds:   the longest time of a fetch, with all its redirects.
    own:       "host:port" pairs that the operator allows although they are not public.
    """

    def __init__(
        self,
        max_bytes: int,
        seconds: float,
        own: frozenset[str] = frozenset(),
        resolve: Resolve = resolve,
        dial: Dial = dial,
    ) -> None:
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._own = own
        self._connections = GuardedConnections(self._too_slow(), own, resolve, dial)

    def fetch(self, url: str) -> FetchedFile:
        """Fetch the file at `url`. Raises BadImage, which says why that failed."""
        deadline = time.monotonic() + self._seconds
        address = first = parse(url, self._own)
        for _ in range(REDIRECTS + 1):
            answer = self._get(address, deadline)
            if isinstance(answer, bytes):
                return FetchedFile(name_of(first), answer)
            address = follow(address, answer, self._own)
        raise BadImage(f"the address redirects more than {REDIRECTS} times")

    def stop(self) -> None:
        """End the threads that resolve host names."""
        self._connections.stop()

    def _get(self, address: WebAddress, deadline: float) -> bytes | str:
        """The body, or the target of a redirect."""
        try:
            with self._connections.open(address, deadline) as connection:
                answer = self._ask(address, connection)
        except ssl.SSLError as error:
            log.info("no encrypted connection to %s: %s", address.url, error)
            raise BadImage("the server at the address has no valid certificate") from None
        except (http.client.HTTPException, OSError) as error:
            log.info("fetch of %s broke: %r", address.url, error)
            raise BadImage(self._why(deadline)) from None
        if time.monotonic() >= deadline:
            raise BadImage(self._too_slow())  # a body that was cut at the deadline looks complete
        return answer

    def _ask(self, address: WebAddress, connection: socket.socket) -> bytes | str:
        exchange = http.client.HTTPConnection(address.host, address.port)
        exchange.sock = connection
        exchange.putrequest("GET", address.target, skip_host=True, skip_accept_encoding=True)
        exchange.putheader("Host", address.authority)
        exchange.putheader("User-Agent", "Shoal")
        exchange.putheader("Accept", "image/*")
        exchange.putheader("Accept-Encoding", "identity")
        exchange.putheader("Connection", "close")
        exchange.endheaders()
        answer = _final(exchange)
        if answer.status in _REDIRECTED and (location := answer.getheader("Location")):
            return _readable(location)
        self._check(answer)
        body = self._unpacked(self._read(answer), answer.getheader("Content-Encoding") or "")
        _check_body(body, answer.getheader("Content-Type") or "")
        return body

    def _check(self, answer: http.client.HTTPResponse) -> None:
        if answer.status != 200:
            raise BadImage(f"the server at the address answers {answer.status}")
        length = answer.getheader("Content-Length") or ""
        if length.isascii() and length.isdigit() and int(length) > self._max_bytes:
            raise BadImage(self._too_large())

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while chunk := answer.read(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise BadImage(self._too_large())
        if answer.length:  # the missing part of Content-Length
            raise http.client.IncompleteRead(bytes(body), answer.length)
        return bytes(body)

    def _unpacked(self, body: bytes, encoding: str) -> bytes:
        """The file in a body that is compressed with gzip or zlib. Other bodies are returned as they are.

        encoding: of the header, which may be wrong: S3 also keeps `aws-chunked` from an upload.
        """
        codings = {coding.strip().lower() for coding in encoding.split(",")}
        if codings & _NOT_UNPACKED:
            raise BadImage("the server at the address sends the file compressed, unasked")
        if not codings & {"gzip", "x-gzip", "deflate"}:
            return body
        marked = body.startswith((_GZIP, *_ZLIB))
        if not marked and "deflate" not in codings:
            return body
        stream = zlib.decompressobj(_GZIP_OR_ZLIB if marked else _RAW)
        try:
            unpacked = stream.decompress(body, self._max_bytes + 1)
        except zlib.error:
            if not marked:
                return body  # no photo is valid data of this kind
            raise BadImage("the server at the address sends damaged compressed data") from None
        if len(unpacked) > self._max_bytes:
            raise BadImage(f"{self._too_large()} after its compressed data were unpacked")
        if not stream.eof:
            raise http.client.IncompleteRead(unpacked)
        return unpacked

    def _why(self, deadline: float) -> str:
        return self._too_slow() if time.monotonic() >= deadline else "the server at the address broke off"

    def _too_large(self) -> str:
        return f"the file at the address has more than {self._max_bytes / 1024 / 1024:.3g} MB"

    def _too_slow(self) -> str:
        return f"the address did not give the file within {self._seconds:g} s"


def _final(exchange: http.client.HTTPConnection) -> http.client.HTTPResponse:
    """The answer after interim ones: http.client takes 103 for the answer itself."""
    answer = exchange.getresponse()
    for _ in range(_MOST_INTERIM):
        if answer.status not in _INTERIM:
            break
        answer.headers = None  # type: ignore[assignment]  # so that it reads the next head
        answer.begin()
    return answer


def _readable(location: str) -> str:
    """The target of a redirect. http.client reads headers as Latin-1; servers also send raw UTF-8."""
    raw = location.encode("latin-1").strip()
    try:
        return raw.decode().replace(" ", "%20")
    except UnicodeDecodeError:
        return quote(raw, safe=_PRINTABLE)


def _check_body(body: bytes, content_type: str) -> None:
    """Raise BadImage for a page or JSON, which the server calls so, too."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind and not kind.startswith("image/") and body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(_TEXT_STARTS):
        raise BadImage(f"the address holds {kind[:40]!r}, not an image")


def name_of(address: WebAddress) -> str:
    """The file name in an address."""
    return safe_name(unquote(PurePosixPath(urlsplit(address.url).path).name) or address.host)
