"""Photos by URL, fetched safely: public addresses only, resolved once and pinned, small, soon, and pictures only.

A server that fetches what strangers name can be sent to its own insides (its metadata endpoint, its neighbours). So a
name is resolved once, every address it has must be public, and the connection goes to the address that was checked;
each redirect is checked in the same way. The fetch as a whole has a deadline that no slow answer can stretch.
"""

from __future__ import annotations

import http.client
import logging
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from shoal.errors import BadImage
from shoal.messages import safe_name
from web_tier.outside.addresses import Place, follow, parse
from web_tier.outside.guarded_connection import Dial, GuardedConnections, Resolve, dial, resolve

log = logging.getLogger(__name__)

REDIRECTS = 5
_CHUNK = 64 * 1024
_REDIRECTED = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file from the network: its name, from the last part of the address, and its bytes."""

    name: str
    payload: bytes


class Fetcher:
    """Fetches files. One for all requests; safe for many threads.

    max_bytes: the largest file. seconds: the longest that a fetch may take, redirects and all.
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
        self._lines = GuardedConnections(self._too_slow(), own, resolve, dial)

    def fetch(self, url: str) -> FetchedFile:
        """The file at `url`. Raises BadImage, which says why it was not fetched."""
        deadline = time.monotonic() + self._seconds
        place = first = parse(url, self._own)
        for _ in range(REDIRECTS + 1):
            answer = self._get(place, deadline)
            if isinstance(answer, bytes):
                return FetchedFile(name_of(first), answer)
            place = follow(place, answer, self._own)
        raise BadImage(f"the address redirects more than {REDIRECTS} times")

    def stop(self) -> None:
        """End the threads that resolve names."""
        self._lines.stop()

    def _get(self, place: Place, deadline: float) -> bytes | str:
        """The body, or where a redirect leads."""
        try:
            with self._lines.open(place, deadline) as line:
                answer = self._ask(place, line)
        except ssl.SSLError as error:
            log.info("no encrypted connection to %s: %s", place.url, error)
            raise BadImage("the server at the address has no valid certificate") from None
        except (http.client.HTTPException, OSError) as error:
            log.info("fetch of %s broke: %r", place.url, error)
            raise BadImage(self._why(deadline)) from None
        if time.monotonic() >= deadline:
            raise BadImage(self._too_slow())  # a body that was cut reads like one that has ended
        return answer

    def _ask(self, place: Place, line: socket.socket) -> bytes | str:
        connection = http.client.HTTPConnection(place.host, place.port)
        connection.sock = line
        connection.putrequest("GET", place.target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", place.authority)
        connection.putheader("User-Agent", "Shoal")
        connection.putheader("Accept", "image/*")
        connection.putheader("Accept-Encoding", "identity")
        connection.putheader("Connection", "close")
        connection.endheaders()
        answer = connection.getresponse()
        if answer.status in _REDIRECTED and (location := answer.getheader("Location")):
            return location
        self._check(answer)
        return self._read(answer)

    def _check(self, answer: http.client.HTTPResponse) -> None:
        if answer.status != 200:
            raise BadImage(f"the server at the address answers {answer.status}")
        kind = (answer.getheader("Content-Type") or "").partition(";")[0].strip().lower()
        if kind and not kind.startswith("image/") and kind not in ("application/octet-stream", "binary/octet-stream"):
            raise BadImage(f"the address holds {kind[:40]!r}, not an image")
        if (answer.getheader("Content-Encoding") or "identity").strip().lower() != "identity":
            raise BadImage("the server at the address sends the file compressed, unasked")
        length = answer.getheader("Content-Length") or ""
        if length.isascii() and length.isdigit() and int(length) > self._max_bytes:
            raise BadImage(self._too_large())

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        body = bytearray()
        while chunk := answer.read(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise BadImage(self._too_large())
        if answer.length:  # what is missing of Content-Length
            raise http.client.IncompleteRead(bytes(body), answer.length)
        return bytes(body)

    def _why(self, deadline: float) -> str:
        return self._too_slow() if time.monotonic() >= deadline else "the server at the address broke off"

    def _too_large(self) -> str:
        return f"the file at the address has more than {self._max_bytes / 1024 / 1024:.3g} MB"

    def _too_slow(self) -> str:
        return f"the address did not give the file within {self._seconds:g} s"


def name_of(place: Place) -> str:
    """The file name in an address."""
    return safe_name(unquote(PurePosixPath(urlsplit(place.url).path).name) or place.host)
