"""Hostile bodies on real sockets: refused at a limit, while the web process answers others and stays small."""

from __future__ import annotations

import base64
import json
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from shoal.messages import safe_name
from tests.test_web_server import child
from tests.waiting import until
from tests.web_fixtures import jpeg

MB = 1_000_000
V1 = "/v1/batches"
JSON = "application/json"
PLAIN = "application/x-www-form-urlencoded"


@dataclass
class Target:
    """A web process under attack. process: watched from outside."""

    url: str
    process: psutil.Process

    def send(self, head: str, body: Iterator[bytes] | bytes) -> str:
        """Send a raw request. Returns the answer, as far as it came."""
        with closing(connect(self)) as client:
            with suppress(ConnectionError):
                client.sendall(head.encode())
                for some in [body] if isinstance(body, bytes) else body:
                    client.sendall(some)
            return read_answer(client)

    def post(self, path: str, content_type: str, body: bytes, method: str = "POST") -> str:
        """Send a body with its length."""
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
        return self.send(f"{head}Content-Length: {len(body)}\r\n\r\n", body)

    def post_chunked(self, path: str, content_type: str, chunks: Iterator[bytes]) -> str:
        """Send chunks without a length. The attacker ends without the last chunk, if the server ends first."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        return self.send(head, chunks)


def read_answer(client: socket.socket) -> str:
    """Read until the server closes, or a whole answer is there."""
    answer = b""
    with suppress(ConnectionError):
        while some := client.recv(65536):
            answer += some
            head, end, body = answer.partition(b"\r\n\r\n")
            length = [line.split(b":")[1] for line in head.splitlines() if line.lower().startswith(b"content-length:")]
            if end and length and len(body) >= int(length[0]):
                break
    return answer.decode(errors="replace")


def chunked(piece: bytes, count: int) -> Iterator[bytes]:
    """A chunked body of `count` equal chunks."""
    for _ in range(count):
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with child("--work", "models=resnet50,ssd_mobilenet_v2", "operator_secret=0123456789abcdef") as (process, url):
        found = Target(url, psutil.Process(process.pid))
        requests.post(url, files={"inputFile": ("test_0.JPG", jpeg())}, timeout=30)
        found.post(V1, JSON, b"{}")
        yield found


def status(answer: str) -> int:
    """The status of a raw answer; 0 if there is none."""
    return int(answer.split(" ", 2)[1]) if answer.startswith("HTTP/1.1 ") else 0


@contextmanager
def unharmed(target: Target) -> Iterator[None]:
    """During the block, another client gets answers within two seconds and the process grows by less than 100 MB."""
    before = target.process.memory_info().rss
    most, slowest, over = before, 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.01):
            most = max(most, target.process.memory_info().rss)

    def ask() -> None:
        nonlocal slowest
        while not over.wait(0.02):
            began = time.monotonic()
            assert requests.get(target.url + "/healthz", timeout=60).json() == {"status": "ok"}
            slowest = max(slowest, time.monotonic() - began)

    with ThreadPoolExecutor(2) as others:
        running = [others.submit(watch), others.submit(ask)]
        try:
            yield
        finally:
            over.set()
        for future in running:
            future.result(60)
    print(f"/healthz took at most {slowest:.2f} s, memory grew {(most - before) / MB:.0f} MB")
    assert slowest < 2
    assert most - before < 100 * MB


CORRECTION = "/batches/1m7yv8wnwyewm4djehxe/photos/0/correction"


def many_keys() -> bytes:
    """An object with a million fields."""
    return b"{" + b",".join(b'"%d":0' % number for number in range(1_000_000)) + b"}"


HOSTILE_JSON: dict[str, tuple[Callable[[], bytes], int]] = {
    "sixty MB of lists": (lambda: b'{"photos":[' + b"[]," * (20 * MB) + b"[]]}", 413),
    "deep lists": (lambda: b"[" * (20 * MB), 400),
    "deep objects": (lambda: b'{"a":' * (4 * MB), 400),
    "a million keys": (many_keys, 413),
    "duplicate keys": (lambda: b"{" + b'"model":"a",' * MB + b'"photos":[]}', 413),
    "a long string": (lambda: b'{"model":"' + b"a" * (50 * MB) + b'","photos":[]}', 413),
    "a long string in escapes": (lambda: rb'{"model":"' + rb"\u0041" * (8 * MB) + b'","photos":[]}', 413),
    "a long key": (lambda: b'{"' + b"a" * (50 * MB) + b'":0}', 413),
    "a long number": (lambda: b'{"photos":' + b"1" * (50 * MB) + b"}", 413),
    "a number of 9,000 digits": (lambda: b'{"photos":' + b"1" * 9_000 + b"}", 400),
    "strings one after another": (lambda: b'{"photos":[' + b'"%s",' % (b"a" * 16_000) * 3_000 + b"0]}", 413),
    "whitespace": (lambda: b" " * (50 * MB), 413),
    "cut off": (lambda: b'{"photos":[{"data":"AAAA', 400),
    "no text at all": (lambda: b"", 400),
    "not UTF-8": (lambda: b'{"model":"\xff"}', 400),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_is_refused_at_a_limit(target: Target, name: str) -> None:
    make, expected = HOSTILE_JSON[name]
    body = make()
    with unharmed(target):
        answer = target.post(V1, JSON, body)
    assert status(answer) == expected, answer[:300]
    assert "application/problem+json" in answer


@pytest.mark.parametrize("path", ["/object-detection", "/api/detect"])
def test_hostile_json_to_the_contracts_of_older_systems_is_refused(target: Target, path: str) -> None:
    with unharmed(target):
        for body in (b'{"images":[' + b"[]," * (20 * MB) + b"[]]}", many_keys(), b'{"id":"' + b"a" * (50 * MB) + b'"}'):
            assert status(target.post(path, "text/plain", body)) == 413
        assert status(target.post(path, JSON, b"[" * MB)) == 400


def test_a_list_of_uploads_has_the_limit_of_its_own(target: Target) -> None:
    with unharmed(target):
        assert status(target.post("/v1/uploads", JSON, b" " * (9 * MB))) == 413


@pytest.mark.parametrize("path", ["/fleet/sign-in", "/fleet/sign-out", "/fleet/redrive", CORRECTION, "/batches", "/no"])
@pytest.mark.parametrize("content_type", [PLAIN, "multipart/form-data; boundary=xyz", JSON, ""])
def test_a_plain_form_has_a_small_limit_everywhere(target: Target, path: str, content_type: str) -> None:
    with unharmed(target):
        answer = target.post(path, content_type, b"a&" * (8 * MB))
    assert status(answer) == 413
    assert "at most 16 KB here" in answer
    assert "Connection: close" in answer


@pytest.mark.parametrize("path", ["/", V1, "/batches/1m7yv8wnwyewm4djehxe/photos"])
def test_a_plain_form_to_a_route_for_photos_has_the_small_limit(target: Target, path: str) -> None:
    with unharmed(target):
        answer = target.post(path, PLAIN, b"a&" * (8 * MB))
    assert status(answer) == 415  # not 413: a smaller body of this type would not be taken either
    assert f"its Content-Type is {PLAIN}" in answer


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT", "OPTIONS"])
def test_a_body_that_no_route_expects_has_the_small_limit(target: Target, method: str) -> None:
    with unharmed(target):
        assert status(target.post("/healthz", PLAIN, b"a" * (16 * MB), method)) == 413


@pytest.mark.parametrize(
    ("path", "content_type", "expected"),
    [("/fleet/sign-in", PLAIN, 413), ("/", PLAIN, 415), ("/v1/uploads", JSON, 413)],
)
def test_a_body_without_a_length_has_the_same_limit(
    target: Target, path: str, content_type: str, expected: int
) -> None:
    with unharmed(target):
        assert status(target.post_chunked(path, content_type, chunked(b"a&" * 32_000, 200))) == expected


def test_hostile_chunks_hold_nobody_up(target: Target) -> None:
    form = "multipart/form-data; boundary=x"
    tiny, endless_line = [b"1\r\na\r\n" * 20_000] * 20, [b"0" * MB] * 30
    with unharmed(target):
        for hostile in (tiny, endless_line):
            # The server closes at once: the answer may be lost, because the client still sends.
            assert status(target.post_chunked("/", form, iter(hostile))) in (400, 0)
        assert status(target.post_chunked(V1, JSON, chunked(b"[]," * 21_000, 800))) == 400


def test_a_body_that_never_ends_is_cut(target: Target) -> None:
    head = f"POST /fleet/sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: {PLAIN}\r\nContent-Length: {10**12}\r\n\r\n"
    with unharmed(target), closing(connect(target)) as client:
        client.sendall(head.encode())
        with pytest.raises(ConnectionError):
            client.sendall(b"a&" * (200 * MB))


def test_a_client_that_asks_before_it_sends_is_refused_at_once(target: Target) -> None:
    head = f"POST /fleet/sign-in HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {16 * MB}\r\n\r\n"
    assert status(target.send(head, b"")) == 413


@pytest.mark.parametrize("length", ["-1", "1e9", "9" * 30, "9" * 5_000, "0x10", "5, 6"])
def test_a_length_that_is_no_length_is_refused(target: Target, length: str) -> None:
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n"
    with unharmed(target):
        assert status(target.send(head, b'{"photos":[]}')) in (0, 400, 413)


def test_a_length_that_is_too_small_ends_the_body(target: Target) -> None:
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: 5\r\n\r\n"
    with unharmed(target):
        answer = target.send(head, b'{"photos":[' + b"[]," * MB)
    assert status(answer) == 400
    assert "not valid JSON" in answer


def test_a_length_that_is_too_large_makes_the_server_wait_for_this_client_alone(target: Target) -> None:
    head = f"POST {V1} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Length: {60 * MB}\r\n\r\n"
    files = target.process.num_fds()
    with unharmed(target), closing(connect(target)) as client:
        client.sendall(head.encode() + b'{"photos":[' + b"[]," * MB)
        assert requests.get(target.url + "/healthz", timeout=2).ok
    until(lambda: target.process.num_fds() <= files)


def connect(target: Target) -> socket.socket:
    """A connection to the target."""
    parts = urlsplit(target.url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), 60)


# Good requests


def test_a_large_photo_in_base64_is_accepted(target: Target) -> None:
    noise = jpeg() + random.Random(1).randbytes(12 * MB)
    for escape in (False, True):
        text = json.dumps({"photos": [{"name": "a.jpg", "data": base64.b64encode(noise).decode()}]})
        body = ("\ufeff" + text.replace("/", "\\/") if escape else text).encode()
        reply = requests.post(
            f"{target.url}{V1}", data=body, headers={"Content-Type": JSON, "Prefer": "wait=20"}, timeout=60
        )
        assert (reply.status_code, reply.json()["done"]) == (200, 1)


def test_json_means_what_it_meant(target: Target) -> None:
    photo = base64.b64encode(jpeg()).decode()
    words = '\ufeff{"photos": [], "photos": [{"name": "\\u00e9\\ud83d\\ude00.jpg", "data": "PHOTO"}]}'
    reply = requests.post(
        f"{target.url}{V1}", data=words.replace("PHOTO", photo).encode(), headers={"Content-Type": JSON}, timeout=30
    )
    assert [one["name"] for one in reply.json()["photos"]] == [safe_name("é😀.jpg")]
    body = {"images": {"a": photo, "b": photo}, "upload_times": [1, 2.5]}
    answers = requests.get(f"{target.url}/api/detect", json=body, timeout=30).json()
    assert [(one["picture_id"], one["upload_time"]) for one in answers] == [("a", 1.0), ("b", 2.5)]
    reply = requests.post(f"{target.url}/object-detection", json={"id": "x", "image_data": photo}, timeout=30)
    assert (reply.status_code, reply.json()["id"]) == (200, "x")


def test_a_good_body_near_every_limit_is_accepted(target: Target) -> None:
    photo = base64.b64encode(jpeg()).decode()
    most = [{"name": "x" * 995 + f"{number:05d}", "data": "data:image/jpeg;base64," + photo} for number in range(1_000)]
    reply = requests.post(f"{target.url}{V1}", json={"photos": most}, timeout=60)
    assert (reply.status_code, reply.json()["total"], reply.json()["failed"]) == (202, 1_000, 0)
    secret = {"secret": "s" * (15 * 1024)}
    assert requests.post(f"{target.url}/fleet/sign-in", data=secret, timeout=10).status_code == 403
