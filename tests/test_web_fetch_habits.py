"""Photos by address from servers with the habits of the web: the bytes say what a file is."""

from __future__ import annotations

import gzip
import io
import socketserver
import threading
import zlib
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import pytest

from inference import images
from shoal.errors import BadImage
from tests.web_fixtures import jpeg
from web_tier.outside.addresses import parse
from web_tier.outside.fetch import Fetcher

MAX_BYTES = 100_000
PHOTO = jpeg()
PAGE = b"\xef\xbb\xbf\n<!doctype html><p>Moved"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    head = (b"HTTP/1.1 " + status, *headers, b"Content-Length: %d" % len(body), b"Connection: close", b"", b"")
    return b"\r\n".join(head) + body


def typed(kind: bytes) -> bytes:
    return answer(PHOTO, b"Content-Type: " + kind)


def packed(body: bytes, coding: bytes = b"gzip") -> bytes:
    return answer(body, b"Content-Type: image/jpeg", b"Content-Encoding: " + coding)


def redirect(location: bytes) -> bytes:
    return answer(b"", b"Location: " + location, status=b"302 Found")


PHOTOS = {
    "text": typed(b"text/plain"),
    "json": typed(b"application/json"),
    "word": typed(b"jpg"),
    "quoted": typed(b'"image/jpeg"'),
    "html": typed(b"text/html; charset=utf-8"),
    "empty-type": typed(b""),
    "untyped": answer(PHOTO),
    "aws-chunked": packed(PHOTO, b"aws-chunked"),
    "aws-chunked-gzip": packed(gzip.compress(PHOTO), b"aws-chunked,gzip"),
    "no-coding": packed(PHOTO, b"none"),
    "gzip": packed(gzip.compress(PHOTO)),
    "x-gzip": packed(gzip.compress(PHOTO), b"X-GZIP"),
    "deflate": packed(zlib.compress(PHOTO), b"deflate"),
    "deflate without a header": packed(zlib.compress(PHOTO)[2:-4], b"deflate"),
    "deflate that is none": packed(PHOTO, b"deflate"),
    "gzip-in-words-only": packed(PHOTO),
    "hints": HINTS + typed(b"image/jpeg"),
    "hints-twice": HINTS * 2 + typed(b"image/jpeg"),
    "hints-then-redirect": HINTS + redirect(b"/untyped"),
    "to-utf8": redirect("/bücher/kätzchen.jpg".encode()),
    "to-blanks": redirect(b"  /two words.jpg "),
    "to-latin1": redirect(b"/b\xfccher.jpg"),
    "to-utf8-that-ends-like-a-blank": redirect("/voilà".encode()),
    "to-utf8-with-a-line-end-of-latin1": redirect("/Å".encode()),
    "bücher/kätzchen.jpg": typed(b"image/jpeg"),
    "two words.jpg": typed(b"image/jpeg"),
    "voilà": typed(b"image/jpeg"),
    "Å": typed(b"image/jpeg"),
}
REFUSED = {
    "page": (answer(PAGE, b"Content-Type: text/html"), "'text/html', not an image"),
    "error": (answer(b'{"error": "x"}', b"Content-Type: application/json"), "'application/json', not an image"),
    "page-as-jpeg": (answer(PAGE, b"Content-Type: image/jpeg"), "a web page is not read here"),
    "words": (answer(b"not here", b"Content-Type: text/plain"), "not an image"),
    "bomb": (packed(gzip.compress(bytes(50_000_000))), "more than 0.0954 MB after its compressed data"),
    "cut-gzip": (packed(gzip.compress(PHOTO)[:-12]), "broke off"),
    "broken-gzip": (packed(b"\x1f\x8b" + bytes(100)), "damaged compressed data"),
    "brotli": (packed(b"x", b"br"), "compressed, unasked"),
    "hints-for-ever": (HINTS * 20, "answers 103"),
}
PATHS = {name.encode(): body for name, body in PHOTOS.items()} | {
    name.encode(): body for name, (body, _) in REFUSED.items()
}
PATHS[b"b\xfccher.jpg"] = typed(b"image/jpeg")


class Server(socketserver.StreamRequestHandler):
    """Answers each path byte for byte."""

    def handle(self) -> None:
        path = self.rfile.readline().split()[1]
        while self.rfile.readline().strip():
            pass
        self.wfile.write(PATHS[unquote_to_bytes(path)[1:]])


@pytest.fixture(scope="module")
def fetcher() -> Iterator[tuple[Fetcher, str]]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        host = f"127.0.0.1:{server.server_address[1]}"
        made = Fetcher(MAX_BYTES, 5.0, frozenset({host}))
        yield made, f"http://{host}"
        made.stop()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", PHOTOS)
def test_a_photo_is_known_by_its_bytes(fetcher: tuple[Fetcher, str], path: str) -> None:
    made, address = fetcher
    assert made.fetch(f"{address}/{path.replace(' ', '%20')}").payload == PHOTO


@pytest.mark.parametrize("path", REFUSED)
def test_what_is_no_photo_is_refused_with_a_reason(fetcher: tuple[Fetcher, str], path: str) -> None:
    made, address = fetcher
    with pytest.raises(BadImage, match=REFUSED[path][1]):
        images.inspect(io.BytesIO(made.fetch(f"{address}/{path}").payload), MAX_BYTES, 1_000_000)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("faß.de", "xn--fa-hia.de"),
        ("FAẞ.de", "xn--fa-hia.de"),
        ("Bücher.example", "xn--bcher-kva.example"),
        ("βόλος.com", "xn--nxasmm1c.com"),
        ("xn--fa-hia.de", "xn--fa-hia.de"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("☕.example", "xn--53h.example"),
        ("my_bucket.example", "my_bucket.example"),
    ],
)
def test_host_names_follow_idna_2008(name: str, host: str) -> None:
    assert parse(f"http://{name}/cat.jpg").host == host
