"""The web process on real sockets: headers, errors, many at once, large forms, and how it stops."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urljoin

import psutil
import pytest
import requests
from waitress.channel import HTTPChannel
from waitress.server import create_server

from shoal.aws import connect
from shoal.clock import SystemClock
from shoal.errors import SettingsError
from shoal.memory import memory_cloud
from tests.aws_session import forget_session
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site, settings
from web_tier import waitress_internals
from web_tier.app import create_app
from web_tier.server import WebServer
from web_tier.watching.readiness import Readiness

ROOT = Path(__file__).resolve().parent.parent
CHILD = ROOT / "tests" / "web_process.py"


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@contextmanager
def child(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The web tier in a process of its own, on a cloud in memory."""
    command = [sys.executable, "-W", "error", str(CHILD), *arguments]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def many(count: int, payload: bytes, boundary: bytes = b"xyz") -> Iterator[bytes]:
    """A form with `count` photos, as a stream."""
    for number in range(count):
        name = b"test_%d.JPG" % number
        yield b'--%s\r\nContent-Disposition: form-data; name="inputFile"; filename="%s"\r\n\r\n' % (boundary, name)
        yield payload + b"\r\n"
    yield b"--%s--\r\n" % boundary


def head(body: bytes) -> bytes:
    """The head of a raw `POST /` with a form."""
    lines = ("POST / HTTP/1.1", "Host: x", "Content-Type: multipart/form-data; boundary=xyz")
    return "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode()


def test_every_answer_has_the_security_headers(site: Site) -> None:
    for path in ("/", "/nothing", "/static/shoal.css", "/healthz"):
        reply = requests.get(site.url + path, timeout=10)
        assert "script-src 'self'" in reply.headers["Content-Security-Policy"]
        assert "unsafe" not in reply.headers["Content-Security-Policy"]
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Server" not in reply.headers


def test_the_page_has_no_inline_script_and_nothing_from_elsewhere(site: Site) -> None:
    page = requests.get(site.url, timeout=10).text
    assert "<script>" not in page
    assert " onclick" not in page
    assert " style=" not in page
    assert "https://" not in page


def test_the_page_of_reconstructions_shows_them_and_calls_only_what_stays_private(site: Site) -> None:
    reply = requests.get(f"{site.url}/privacy", timeout=10)

    pictures = re.findall(r'<img src="([^"]+)"', reply.text)
    assert len(pictures) >= 9
    assert all(requests.get(urljoin(site.url, one), timeout=10).content[:2] == b"\xff\xd8" for one in pictures)
    words = " ".join(re.sub("<[^>]*>", "", reply.text).split())
    assert re.findall(r"[^.]*\bprivate\b[^.]*\.", words) == [" A photo stays private where nothing leaves the device."]


def test_the_page_and_all_it_loads_is_small(site: Site) -> None:
    sizes: dict[str, int] = {}
    waiting = [f"{site.url}/"]
    while waiting:
        address = waiting.pop()
        if address not in sizes:
            text = requests.get(address, timeout=10).text
            sizes[address] = len(text.encode())
            named = re.findall(r'(?:<link [^>]*href|<script [^>]*src)="([^"]+)"|(?:from|import) "(\./[^"]+)"', text)
            waiting += [urljoin(address, linked or imported) for linked, imported in named]
    assert len(sizes) > 10  # the scripts were followed
    assert sum(sizes.values()) < 90_000


def test_static_files_are_cached_for_good_only_under_their_digest(site: Site) -> None:
    page = requests.get(site.url, timeout=10).text
    address = page.split('rel="stylesheet" href="')[1].split('"')[0]
    assert "immutable" in requests.get(site.url + address, timeout=10).headers["Cache-Control"]
    assert requests.get(site.url + "/static/shoal.css", timeout=10).headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    ("accept", "content_type", "words"),
    [
        ("text/html", "text/html; charset=utf-8", "<h1>Not found</h1>"),
        ("application/json", "application/json", '"error"'),
        ("*/*", "text/plain; charset=utf-8", "unknown or has expired"),
    ],
)
def test_an_unknown_batch_is_told_in_the_form_asked_for(site: Site, accept: str, content_type: str, words: str) -> None:
    for batch in ("1" * 20, "<script>", "../x"):
        reply = requests.get(f"{site.url}/batches/{batch}", headers={"Accept": accept}, timeout=10)
        assert reply.status_code == 404
        assert reply.headers["Content-Type"] == content_type
        assert "<script>" not in reply.text
    reply = requests.get(f"{site.url}/batches/{'1' * 20}", headers={"Accept": accept}, timeout=10)
    assert words in reply.text


def test_a_wrong_method_says_which_are_right(site: Site) -> None:
    reply = requests.delete(site.url, timeout=10)
    assert reply.status_code == 405
    assert "POST" in reply.headers["Allow"]


def test_health_and_readiness(site: Site) -> None:
    assert requests.get(site.url + "/healthz", timeout=10).json() == {"status": "ok"}
    assert requests.get(site.url + "/readyz", timeout=10).json()["status"] == "ok"


def test_readiness_is_told_soon_when_the_store_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that refuses, one that never answers; and who asks again and again leaves no threads behind."""
    with running_site(work=False) as site, closing(socket.create_server(("127.0.0.1", 0))) as silent:
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:9")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        forget_session(monkeypatch)
        away = Readiness(connect(settings()), {"input bucket": lambda: None, "output bucket": lambda: None})
        monkeypatch.setattr(Readiness, "look", lambda _, seconds, look=Readiness.look: look(away, seconds))
        for _ in range(2):
            began = time.monotonic()
            reply = requests.get(f"{site.url}/readyz", timeout=10)
            assert time.monotonic() - began < 10  # 1.5 s on a machine that has nothing else to do
            assert (reply.status_code, reply.json()["status"]) == (503, "not ready")
            assert reply.json()["checks"]["input bucket"].startswith("no answer for ")
        assert sum(thread.name == "ready" for thread in threading.enumerate()) <= 4
        until(lambda: "test-req-queue" in requests.get(f"{site.url}/readyz", timeout=10).text)


def test_a_hundred_requests_at_once_are_all_answered(site: Site) -> None:
    photo = jpeg()

    def one(number: int) -> str:
        files = {"inputFile": (f"test_{number}.JPG", photo)}
        return requests.post(site.url, files=files, timeout=30).text

    started = time.monotonic()
    with ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(one, range(100)))
    print(f"100 requests at once took {time.monotonic() - started:.2f} s")
    assert [answer.split(":")[0] for answer in answers] == [f"test_{number}" for number in range(100)]
    assert len(list(site.cloud.inputs.list(""))) == len(list(site.cloud.outputs.list(""))) == 100


def test_more_waiting_clients_than_threads_are_served_one_after_another() -> None:
    with running_site(web_threads=4) as site, ThreadPoolExecutor(20) as clients:
        files = {"inputFile": ("test_0.JPG", jpeg())}
        calls = [clients.submit(requests.post, site.url, files=files, timeout=30) for _ in range(20)]
        assert {call.result().text for call in calls} == {"test_0:hair_spray"}


def test_five_thousand_photos_in_one_form_keep_memory_flat() -> None:
    with child("--work") as (process, url):
        watched = psutil.Process(process.pid)
        requests.post(url, files={"inputFile": ("test_0.JPG", jpeg())}, timeout=30)
        before = watched.memory_info().rss
        most = [before, watched.num_fds()]
        over = threading.Event()

        def watch() -> None:
            while not over.wait(0.02):
                most[0] = max(most[0], watched.memory_info().rss)
                most[1] = max(most[1], watched.num_fds())

        watcher = threading.Thread(target=watch)
        watcher.start()
        headers = {"Accept": "text/html", "Content-Type": "multipart/form-data; boundary=xyz"}
        started = time.monotonic()
        reply = requests.post(url, data=many(5_000, jpeg()), headers=headers, timeout=60, allow_redirects=False)
        took = time.monotonic() - started
        over.set()
        watcher.join()
        assert reply.status_code == 303
        grown = (most[0] - before) / 1e6
        print(f"5,000 photos: {took:.1f} s, memory grew {grown:.1f} MB, at most {most[1]} file descriptors")
        assert grown < 50
        assert most[1] < 120
        found = {"queued": 5_000}

        def finished() -> bool:
            found.update(requests.get(f"{url}{reply.headers['Location']}.json", timeout=30).json())
            return not found["queued"]

        until(finished, 60)
        assert found["total"] == found["done"] == 5_000


def test_a_connection_is_asked_again_whenever_what_it_waits_for_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop asks all connections once a second, in case. Here it does so only at the start."""
    monkeypatch.setattr(waitress_internals, "ALL_SECONDS", 1e6)
    with running_site() as site:
        large = requests.get(f"{site.url}/static/examples/cat.jpg", timeout=10)  # more than a socket takes at once
        with requests.Session() as line:  # one connection for several requests, with bodies in several pieces
            answers = [line.post(site.url, files={"inputFile": ("a.jpg", jpeg())}, timeout=10) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", site.port), 10) as raw:
            raw.sendall(2 * b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")  # the second waits for the first
            raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with raw.makefile("rb") as told:
                healthy = told.read().count(b" 200 OK")  # to the end: the server closes

    assert large.content == (ROOT / "static" / "examples" / "cat.jpg").read_bytes()
    assert [one.status_code for one in answers] == [200] * 3
    assert healthy == 3


def test_a_slow_client_holds_nobody_up(site: Site) -> None:
    body = b"".join(many(1, jpeg()))
    with closing(socket.create_connection(("127.0.0.1", site.port), 10)) as slow:
        slow.sendall(head(body) + body[:50])
        files = {"inputFile": ("test_0.JPG", jpeg())}
        assert requests.post(site.url, files=files, timeout=10).text == "test_0:hair_spray"
        for start in range(50, len(body), 40):
            slow.sendall(body[start : start + 40])
        slow.settimeout(10)
        answer = b""
        while b"test_0:hair_spray" not in answer:
            some = slow.recv(4096)
            assert some, answer
            answer += some


def test_a_client_that_leaves_frees_its_thread() -> None:
    with running_site(work=False, web_threads=4) as site, ExitStack() as open_now:
        body = b"".join(many(1, jpeg()))

        def send() -> socket.socket:
            client = open_now.enter_context(closing(socket.create_connection(("127.0.0.1", site.port), 10)))
            client.sendall(head(body) + body)
            return client

        clients = [send() for _ in range(4)]  # photos get one of the four threads, as all come from one address
        until(lambda: site.cloud.requests.depth().visible == 1)
        for client in clients:
            client.close()
        send()
        until(lambda: site.cloud.requests.depth().visible > 1)


def test_a_port_in_use_is_one_clear_line() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        environment = {
            **os.environ,
            "SHOAL_PORT": str(port),
            "SHOAL_HOST": "127.0.0.1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        command = [sys.executable, "-W", "error", "-m", "web_tier"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr == f"port {port} is in use: stop what uses it or set SHOAL_PORT\n"


def test_an_unknown_venue_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="pool"):
        create_app(settings(venue="moon"), memory_cloud(SystemClock()), SystemClock())


@pytest.mark.alone
def test_sigterm_ends_streams_and_waiting_requests_and_the_process() -> None:
    with child() as (process, url), ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(requests.post, url, files={"inputFile": ("test_0.JPG", jpeg())}, timeout=30)
        batch = requests.post(url + "/batches", timeout=10).json()["batch"]
        with requests.get(f"{url}/batches/{batch}/events?uploading=1", stream=True, timeout=30) as stream:
            lines = stream.iter_lines(decode_unicode=True)
            assert next(lines).startswith("retry:")
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            rest = list(lines)
        assert "event: stopping" in rest
        reply = waiting.result(10)
        assert reply.status_code == 503
        assert "The photos are safe: see http" in reply.text
        assert process.wait(10) == 0
        assert time.monotonic() - started < 4  # two seconds on a machine that has nothing else to do


def test_the_same_port_serves_again_at_once_after_a_stop() -> None:
    with running_site() as first:
        port = first.port
    with running_site(port=port) as second:
        assert requests.get(second.url + "/healthz", timeout=10).ok


def test_a_host_that_is_not_ours_is_named() -> None:
    app = create_app(settings(), memory_cloud(SystemClock()), SystemClock())
    with pytest.raises(SettingsError, match="SHOAL_HOST"):
        WebServer(app, "192.0.2.1", 0, 4)


def test_the_calls_into_waitress_are_those_of_the_pinned_version() -> None:
    server = create_server(lambda environ, respond: [], host="127.0.0.1", port=0, map={})
    try:
        waitress_internals.check(server)
    finally:
        server.close()


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, name, _ in waitress_internals.METHODS])
def test_a_moved_call_into_waitress_is_named(owner: type, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, name, lambda self, other: None)
    with pytest.raises(waitress_internals.WaitressMovedError, match=rf"waitress .*{owner.__name__}\.{name} has moved"):
        waitress_internals.check(object())


def test_a_moved_attribute_of_waitress_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(waitress_internals.WaitressMovedError, match="effective_port has moved"):
        waitress_internals.check(object())
    monkeypatch.delattr(HTTPChannel, "total_outbufs_len")
    with pytest.raises(waitress_internals.WaitressMovedError, match=r"HTTPChannel\.total_outbufs_len has moved"):
        waitress_internals.check(object())
