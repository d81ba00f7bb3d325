"""The calls made for each photo go through the proxies and trust the certificates that boto3's variables name."""

from __future__ import annotations

import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from shoal.aws.clients import Session

ROOT = Path(__file__).parent.parent
DEADLINE_SECONDS = 30.0
OTHER_HOST = "127.1"  # another spelling of 127.0.0.1, which is not seen as this machine: it stands for AWS
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}

# Says what came back, and whether boto3 had to help.
CALLS = """
import json, sys
from shoal.aws import signed
from shoal.aws.clients import Service
from shoal.aws.s3 import S3Store
from shoal.aws.sqs import SqsQueue
store, queue = S3Store(Service("s3"), "bucket"), SqsQueue(Service("sqs"), "queue")
store.put("a key", b"bytes", "image/png")
print(json.dumps([store.get("a key").decode(), queue.url, "boto3" in sys.modules]))
"""
BOTO3_CALL = """
from shoal.aws.clients import client
print(client("s3").put_object(Bucket="bucket", Key="key", Body=b"")["ResponseMetadata"]["HTTPStatusCode"])
"""
METADATA = """
import os
from shoal.aws.metadata import InstanceMetadata
from shoal.errors import NotFound
InstanceMetadata(os.environ["AWS_ENDPOINT_URL"])._call("PUT", "/latest/api/token", {"Content-Length": "0"})
print("none")
"""
ONE_CALL = """
from shoal.aws import signed
from shoal.aws.clients import Service
print(signed.call(Service("s3"), "GET", "/key", {}, None, "bucket"))
"""


class Store(BaseHTTPRequestHandler):
    """Keeps what is PUT; answers every POST with the URL of a queue. Says which requests came through a proxy."""

    protocol_version = "HTTP/1.1"
    kept: dict[str, bytes]
    through_proxy: list[bool]
    proxied = False

    def do_PUT(self) -> None:
        self.kept[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(self.kept[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b'{"QueueUrl": "the queue"}')

    def _answer(self, body: bytes) -> None:
        # The proxy adds its header to the first request of a connection alone.
        self.proxied = self.proxied or "Via" in self.headers
        self.through_proxy.append(self.proxied)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No access log."""


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[tuple[str, list[bool]]]:
    """A service on this machine, by TLS where there is a context: its URL, and which requests came through a proxy."""
    through_proxy: list[bool] = []
    handler = type("OneStore", (Store,), {"kept": {}, "through_proxy": through_proxy})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    # A caller that refuses our certificate ends the handshake.
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}", through_proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def proxy(folder: Path) -> Iterator[tuple[str, Path]]:
    """A proxy in a process of its own: its URL, and its log."""
    port, log = folder / "port", folder / "proxy.log"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "proxy", "--hostname", "127.0.0.1", "--port", "0", "--port-file", str(port)),
            *("--num-workers", "1", "--log-file", str(log)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd=folder,
    )
    try:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (port.exists() and port.read_text().strip()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the proxy has not started"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port.read_text().split()[0]}", log
    finally:
        process.terminate()
        process.wait(DEADLINE_SECONDS)


def said(log: Path, pattern: str) -> bool:
    """Whether the proxy's log comes to say it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not re.search(pattern, log.read_text()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def run(script: str, endpoint: str, **variables: str) -> str:
    """Run a program that sees no other AWS variable and no other proxy than these; its output."""
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        **KEYS,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        **variables,
    }
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout


@pytest.fixture
def authority(tmp_path: Path) -> tuple[ssl.SSLContext, str]:
    """A server's TLS context for 127.0.0.1, and the file of the only authority that vouches for it."""
    made = trustme.CA()
    bundle = tmp_path / "authority.pem"
    made.cert_pem.write_to_path(str(bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.issue_cert("127.0.0.1", OTHER_HOST).configure_cert(context)
    return context, str(bundle)


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"])
def test_a_bundle_of_certificates_of_one_s_own_is_trusted(authority: tuple[ssl.SSLContext, str], variable: str) -> None:
    context, bundle = authority
    with serving(context) as (url, _):
        assert json.loads(run(CALLS, url, **{variable: bundle})) == ["bytes", "the queue", False]


def test_a_certificate_that_nobody_vouches_for_is_refused(authority: tuple[ssl.SSLContext, str]) -> None:
    with serving(authority[0]) as (url, _):
        assert run(ONE_CALL, url) == "None\n"


def test_plain_calls_go_through_the_proxy(tmp_path: Path) -> None:
    with serving() as (url, through_proxy), proxy(tmp_path) as (proxy_url, _):
        made = run(CALLS, url.replace("127.0.0.1", OTHER_HOST), HTTP_PROXY=proxy_url)
        assert json.loads(made) == ["bytes", "the queue", False]
        assert through_proxy == [True] * 3


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_calls_to_this_machine_go_through_no_proxy(variable: str) -> None:
    with serving() as (url, _):
        made = run(CALLS + BOTO3_CALL, url, **{variable: "http://127.0.0.1:1"})
        assert made.splitlines() == ['["bytes", "the queue", false]', "200"]


def test_metadata_is_read_through_no_proxy() -> None:
    with serving() as (url, _):
        assert run(METADATA, url, HTTP_PROXY="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1") == "none\n"


def test_encrypted_calls_go_through_the_proxy(tmp_path: Path, authority: tuple[ssl.SSLContext, str]) -> None:
    context, bundle = authority
    with serving(context) as (url, _), proxy(tmp_path) as (proxy_url, log):
        elsewhere = url.replace("127.0.0.1", OTHER_HOST)
        made = json.loads(run(CALLS, elsewhere, HTTPS_PROXY=proxy_url, AWS_CA_BUNDLE=bundle))
        assert made == ["bytes", "the queue", False]
        assert said(log, f" CONNECT {OTHER_HOST}:{url.rpartition(':')[2]}"), log.read_text()


def test_a_service_that_needs_no_proxy_gets_none(tmp_path: Path) -> None:
    with serving() as (url, through_proxy), proxy(tmp_path) as (proxy_url, _):
        variables = {"HTTP_PROXY": proxy_url, "NO_PROXY": OTHER_HOST}
        made = run(CALLS, url.replace("127.0.0.1", OTHER_HOST), **variables)
        assert json.loads(made) == ["bytes", "the queue", False]
        assert through_proxy == [False] * 3


def test_a_region_that_is_set_after_the_session_was_made_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    made = Session({})
    assert made.region is None
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert made.region == "eu-west-1"
