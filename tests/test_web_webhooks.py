"""Webhooks against a real receiver: signed, tried again, taken up by another process, never posted to the inside."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests

from benchmarks.running.ports import free_port
from shoal.clock import SystemClock
from shoal.errors import SettingsError
from shoal.memory import memory_cloud
from shoal.messages import Job, new_batch
from shoal.settings import load
from tests import run_fixtures
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from web_tier import services
from web_tier.outside import signature
from web_tier.outside.addresses import parse
from web_tier.outside.http_post import Poster
from web_tier.results import webhooks

ROOT = Path(__file__).resolve().parent.parent
KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(bytes(24)).decode()}"


@dataclass
class Receiver:
    """Takes webhooks. It answers with the statuses in turn, and with the last one for good."""

    statuses: list[int]
    port: int = 0
    taken: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    @property
    def own(self) -> str:
        return f"127.0.0.1:{self.port}"


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(list(statuses))
    receiver.hold.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
            receiver.hold.wait(20)
            status = receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            self.send_response(status)
            if status in (301, 307):
                self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def verify(headers: dict[str, str], body: bytes, key: bytes = KEY) -> None:
    """As docs/web.md tells a receiver to."""
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 300
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert any(hmac.compare_digest(f"v1,{expected}", one) for one in headers["webhook-signature"].split())


def records(site: Site) -> list[str]:
    return [one.key for one in site.cloud.outputs.list("webhooks/")]


def submit(site: Site, webhook: str, *names: str, **more: Any) -> requests.Response:
    photos = [{"name": name, "data": base64.b64encode(jpeg()).decode()} for name in names]
    body = {"photos": photos, "webhook": webhook}
    return requests.post(f"{site.url}/v1/batches", json=body, timeout=20, **more)


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "FIRST_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(webhooks, "TICK_SECONDS", 0.02)


def test_the_signature_is_the_one_of_the_specification() -> None:
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    made = signature.headers([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.usefixtures("_hasty")
def test_a_receiver_that_fails_first_gets_the_same_event_until_it_takes_it() -> None:
    with (
        receiving(500, 503, 204) as receiver,
        running_site(webhook_secret=f"{SECRET},{OLD_SECRET}", fetch_own=receiver.own) as site,
    ):
        reply = submit(site, receiver.url, "test_0.jpg", "fail.jpg")
        assert reply.ok, reply.text
        batch = reply.json()["batch"]
        until(lambda: len(receiver.taken) == 3 and not records(site))
        for headers, body in receiver.taken:
            verify(headers, body)
            verify(headers, body, bytes(24))
            assert headers["content-type"] == "application/json"
        assert {headers["webhook-id"] for headers, _ in receiver.taken} == {f"batch_{batch}"}
        assert len({body for _, body in receiver.taken}) == 1
        told = json.loads(receiver.taken[0][1])
        assert told["type"] == "batch.done"
        state = requests.get(f"{site.url}/v1/batches/{batch}", timeout=10).json()
        assert told["data"] | {"cost": None} == state
        assert (told["data"]["done"], told["data"]["failed"]) == (1, 1)


@pytest.mark.usefixtures("_hasty")
def test_the_end_of_a_bulk_run_is_told_whoever_began_it_has_gone() -> None:
    with (
        receiving(500, 204) as receiver,
        running_site(
            work=False, webhook_secret=SECRET, fetch_own=receiver.own, run_sources=run_fixtures.SOURCES
        ) as site,
    ):
        run_fixtures.store_photos(site.cloud, 30, bad=1)
        asked = {"source": run_fixtures.SOURCES, "webhook": receiver.url}
        run = requests.post(f"{site.url}/v1/runs", json=asked, timeout=20).json()["run"]
        assert records(site) == [f"webhooks/{run}/record"]
        run_fixtures.work(site.cloud)
        until(lambda: not records(site))
        for headers, body in receiver.taken:
            verify(headers, body)
            assert headers["webhook-id"] == f"run_{run}"
        event = json.loads(receiver.taken[-1][1])
        told = {name: event["data"][name] for name in ("run", "state", "labelled", "failed")}
        assert (event["type"], told) == ("run.done", {"run": run, "state": "done", "labelled": 29, "failed": 1})
        assert [part["rows"] for part in event["data"]["parts"]] == [30]


def test_no_webhook_before_the_last_photo_is_answered() -> None:
    with receiving(200) as receiver, running_site(work=False, webhook_secret=SECRET, fetch_own=receiver.own) as site:
        files = [("inputFile", (name, jpeg())) for name in ("a.jpg", "b.jpg")]
        address = f"{site.url}/v1/batches"
        reply = requests.post(address, files=files, params={"webhook": receiver.url}, timeout=20)
        assert reply.status_code == 202
        site.worker.step(1)
        until(lambda: records(site))
        assert not receiver.taken
        site.worker.step(1)
        until(lambda: receiver.taken)


@pytest.mark.usefixtures("_hasty")
def test_photos_that_were_sent_to_the_bucket_have_their_webhook_with_the_last_confirmation() -> None:
    batch = new_batch(time.time())
    jobs = [Job(batch, index, f"test_{index}.jpg", "") for index in range(2)]
    with receiving(200) as receiver, running_site(webhook_secret=SECRET, fetch_own=receiver.own) as site:
        for job, more in zip(jobs, ({}, {"webhook": receiver.url}), strict=True):
            site.cloud.inputs.put(job.key, jpeg(), "image/jpeg")
            body = {"photos": [{"name": job.name, "index": job.index}], **more}
            assert requests.post(f"{site.url}/v1/batches/{batch}/photos/confirm", json=body, timeout=20).ok
        until(lambda: receiver.taken)
    told = json.loads(receiver.taken[0][1])["data"]
    assert (told["batch"], told["total"], told["done"]) == (batch, 2, 2)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize("status", [301, 307, 410])
def test_no_redirect_is_followed_and_who_is_gone_is_left_alone(status: int) -> None:
    with receiving(status) as receiver, running_site(webhook_secret=SECRET, fetch_own=receiver.own) as site:
        submit(site, receiver.url, "a.jpg")
        if status == 410:
            until(lambda: receiver.taken and not records(site))
            assert len(receiver.taken) == 1
        else:
            until(lambda: len(receiver.taken) == 3)
            assert records(site)


@pytest.mark.usefixtures("_hasty")
def test_a_receiver_that_never_takes_it_is_given_up_in_time(caplog: pytest.LogCaptureFixture) -> None:
    with (
        receiving(500) as receiver,
        running_site(webhook_secret=SECRET, webhook_seconds=1.0, fetch_own=receiver.own) as site,
    ):
        submit(site, receiver.url, "a.jpg")
        until(lambda: receiver.taken and not records(site))
        assert "is given up" in caplog.text


@pytest.mark.usefixtures("_hasty")
def test_of_several_processes_one_delivers_and_another_goes_on_when_it_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "CLAIM_SECONDS", 5.0)
    monkeypatch.setattr(webhooks, "LIST_SECONDS", 0.05)
    cloud = memory_cloud(SystemClock())
    with receiving(200) as receiver:
        site_settings: dict[str, Any] = {"webhook_secret": SECRET, "fetch_own": receiver.own}
        with running_site(cloud, **site_settings) as first, running_site(cloud, work=False, **site_settings) as second:
            submit(first, receiver.url, "a.jpg")
            until(lambda: receiver.taken and not records(second))
            assert len(receiver.taken) == 1
            # A claim whose process died while it delivered: it is there before the batch is finished.
            first.worker.pause()
            batch = submit(first, receiver.url.replace("a=b", "c=d"), "b.jpg").json()["batch"]
            cloud.outputs.put_new(f"webhooks/{batch}/attempt-0", b"", "text/plain")
            first.worker.go.set()
            until(lambda: len(receiver.taken) == 2 and not records(second))


def test_what_a_killed_process_did_not_deliver_is_delivered_by_the_next(tmp_path: Path) -> None:
    with receiving(500, 200) as receiver:
        port, given = free_port(), [SECRET, receiver.own]
        with child(tmp_path, port, *given) as url:
            body = {"photos": [{"data": base64.b64encode(jpeg()).decode()}], "webhook": receiver.url}
            assert requests.post(f"{url}/v1/batches", json=body, timeout=20).ok  # 200 where the worker was faster
            until(lambda: receiver.taken)
            stored = tmp_path / "outputs"
            until(lambda: '"attempt": 1' in "".join(one.read_text() for one in stored.rglob("webhooks/**/record")))
        assert len(receiver.taken) == 1
        with child(tmp_path, port, *given):
            until(lambda: len(receiver.taken) == 2)
            until(lambda: not [one for one in stored.rglob("webhooks/**/*") if one.is_file()])
        ids = {headers["webhook-id"] for headers, _ in receiver.taken}
        assert len(ids) == 1
        verify(*receiver.taken[1])


@contextmanager
def child(folder: Path, port: int, secret: str, own: str) -> Iterator[str]:
    """A web tier on a folder; killed at the end."""
    command = [sys.executable, "-W", "error", str(ROOT / "tests" / "web_process.py"), "--work", str(folder), str(port)]
    command += [f"webhook_secret={secret}", f"fetch_own={own}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@pytest.mark.parametrize(
    ("webhook", "detail"),
    [
        ("ftp://example.org/", "only http and https"),
        ("http://user:word@example.org/", "user name"),
        ("https://example.org:22/", "port 22"),
        ("http://0x7f.1/", "decimal"),
        ("http://example.org/a b", "blanks"),
        ("", "is empty"),
        (3, "webhook is not a string"),
        (None, "webhook is not a string"),
    ],
)
def test_an_address_that_is_none_is_refused_at_once(webhook: Any, detail: str) -> None:
    with running_site(work=False, webhook_secret=SECRET) as site:
        reply = submit(site, webhook, "a.jpg")
        assert (reply.status_code, detail in reply.json()["detail"]) == (400, True), reply.text
        assert not list(site.cloud.inputs.list(""))


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "[::1]", "localhost", "[::ffff:10.0.0.1]"])
def test_an_address_inside_is_refused_at_once(host: str, caplog: pytest.LogCaptureFixture) -> None:
    with running_site(work=False, webhook_secret=SECRET) as site:
        reply = submit(site, f"http://{host}:8080/", "a.jpg")
        assert (reply.status_code, "not on the public internet" in reply.json()["detail"]) == (400, True), reply.text
        own = parse(f"http://{host}:8080/").host
        assert reply.json()["detail"].endswith(f"allow it with SHOAL_FETCH_OWN={own}:8080")
        assert "refused to connect" in caplog.text
        assert not records(site)
        assert not list(site.cloud.inputs.list(""))


@pytest.mark.usefixtures("_hasty")
def test_nothing_is_posted_inside_and_it_is_tried_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is on the public internet when it is registered, and inside when it is posted to."""
    found = iter([["93.184.215.14"]])
    turning = partial(Poster, resolve=lambda host, port: next(found, ["10.0.0.7"]))
    monkeypatch.setattr(services, "Poster", turning)
    with running_site(webhook_secret=SECRET) as site:
        assert submit(site, "http://turns.example:8080/", "a.jpg").ok
        until(lambda: "is given up, attempt 1" in caplog.text and not records(site))
        assert caplog.text.count("refused to connect") == 1


def test_without_a_secret_there_are_no_webhooks_and_the_description_says_so() -> None:
    with running_site(work=False) as site:
        reply = submit(site, "https://example.org/", "a.jpg")
        assert (reply.status_code, "SHOAL_WEBHOOK_SECRET" in reply.text) == (400, True)
        document = requests.get(f"{site.url}/openapi.json", timeout=10).json()
        assert "has not set SHOAL_WEBHOOK_SECRET" in document["webhooks"]["batchDone"]["post"]["description"]
        assert "webhook" not in document["components"]["schemas"]["Submission"]["properties"]
    with running_site(work=False, webhook_secret=SECRET) as site:
        document = requests.get(f"{site.url}/openapi.json", timeout=10).json()
        assert "SHOAL_WEBHOOK_SECRET" not in document["webhooks"]["batchDone"]["post"]["description"]
        assert requests.get(f"{site.url}/api", timeout=10).ok


def test_a_repeated_submission_keeps_its_webhook_and_another_address_is_another_request() -> None:
    with running_site(work=False, webhook_secret=SECRET) as site:
        key = {"Idempotency-Key": "k"}
        first = submit(site, "https://example.org/one", "a.jpg", headers=key)
        assert submit(site, "https://example.org/one", "a.jpg", headers=key).json()["batch"] == first.json()["batch"]
        assert len([key for key in records(site) if key.endswith("record")]) == 1


@pytest.mark.parametrize("secret", ["secret", "whsec_", "whsec_AAAA", "whsec_%%%", f"{SECRET},x"])
def test_a_secret_that_is_none_is_told_without_showing_it(secret: str) -> None:
    with pytest.raises(SettingsError, match="openssl") as told:
        load({"SHOAL_WEBHOOK_SECRET": secret})
    assert secret not in str(told.value).replace("whsec_ and", "").replace("whsec_$", "")
    assert SECRET not in repr(load({"SHOAL_WEBHOOK_SECRET": SECRET}))
