"""Photos straight to the bucket, on a real S3: what a form allows, what a confirmation does, the page that uses it."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import requests
from moto.server import ThreadedMotoServer
from PIL import Image
from playwright.sync_api import Page, expect

from controller.sweeper import DAY_SECONDS, PROBE_SECONDS, Sweeper
from shoal.aws import connect, prepare
from shoal.aws.clients import client
from shoal.aws.s3 import create_bucket
from shoal.aws.uploads import PROBE_PREFIX, allow_forms
from shoal.clock import SystemClock
from shoal.errors import Permanent
from shoal.memory import ManualClock, memory_cloud
from shoal.messages import Job, batch_floor, new_batch
from shoal.ports import Cloud, UploadForm
from shoal.settings import load
from tests.aws_session import forget_session
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from tests.web_screenshots import DESKTOP, chromium
from web_tier.services import Services

LIMIT = 3 * 1024 * 1024


@pytest.fixture
def cloud(embedded_cloud: None) -> Cloud:
    settings = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    prepare(settings)
    return connect(settings)


@pytest.fixture
def site(cloud: Cloud) -> Iterator[Site]:
    with running_site(cloud, max_file_bytes=LIMIT, private_data="keep") as running:
        until(lambda: services(running).direct.on)
        yield running


def services(site: Site) -> Services:
    found: Services = site.server._services
    return found


def offered(site: Site, *names: str, **more: Any) -> dict[str, Any]:
    body = {"photos": [{"name": name} for name in names], **more}
    reply = requests.post(f"{site.url}/v1/uploads", json=body, timeout=10)
    assert reply.status_code == 201, reply.text
    told: dict[str, Any] = reply.json()
    return told


def put(upload: dict[str, Any], body: bytes, kind: str = "image/jpeg", **changes: str) -> int:
    fields = {**upload["fields"], "Content-Type": kind, **changes}
    return requests.post(upload["url"], data=fields, files={"file": ("any", body)}, timeout=10).status_code


def confirm(site: Site, batch: str, *photos: tuple[int, str], **more: str) -> list[dict[str, Any]]:
    body = {"photos": [{"index": index, "name": name} for index, name in photos], **more}
    reply = requests.post(f"{site.url}/v1/batches/{batch}/photos/confirm", json=body, timeout=10)
    assert reply.status_code == 200, reply.text
    return list(reply.json()["photos"])


def noise(size: int) -> bytes:
    """A photo of about `size` bytes that no compression makes smaller."""
    side = int((size / 3) ** 0.5)
    pixels = np.random.default_rng(7).integers(0, 256, (side, side, 3), dtype=np.uint8)
    body = io.BytesIO()
    Image.fromarray(pixels).save(body, "PNG")
    return body.getvalue()


def test_photos_go_straight_to_the_bucket_and_are_labelled_when_confirmed(site: Site) -> None:
    told = offered(site, "test_0.JPG", '../ä "b".jpg', model="resnet50")
    batch = told["batch"]
    first, second = told["uploads"]
    assert [one["name"] for one in (first, second)] == ["test_0.JPG", 'ä "b".jpg']
    assert put(first, jpeg()) < 300
    assert put(second, jpeg(), "image/heic") < 300
    arrived = confirm(site, batch, (0, "test_0.JPG"), (1, second["name"]), (2, "never.jpg"), model="resnet50")
    assert [one["status"] for one in arrived] == ["accepted", "accepted", "missing"]
    here = f"{site.url}/v1/batches/{batch}"
    until(lambda: requests.get(here, timeout=10).json()["done"] == 2)
    assert site.cloud.inputs.get(f"{batch}/00000@resnet50/test_0.JPG") == jpeg()
    handled = len(site.worker.handled)
    again = confirm(site, batch, (0, "test_0.JPG"), model="resnet50")  # it has its label: nothing is queued
    assert again[0]["status"] == "accepted"
    assert (len(site.worker.handled), site.cloud.requests.depth().total) == (handled, 0)


PRINTABLE = [chr(code) for code in [*range(0x20, 0x7F), *range(0xA1, 0x100)] if chr(code) not in "/\\"]
ODD_NAMES = [
    "${filename}",
    "a${filename}b.jpg",
    "$x",
    "%20.jpg",
    "a+b c",
    "%2F..%2f",
    "&amp;.jpg",
    "a?b#c=d;e",
    "ö.jpg",
    "例 🐟",
]


def test_every_printable_character_is_kept_in_a_name_both_ways(site: Site) -> None:
    names = [f"a{character}b.jpg" for character in PRINTABLE] + ODD_NAMES
    told = offered(site, *names)
    assert {put(upload, jpeg()) // 100 for upload in told["uploads"]} == {2}
    arrived = confirm(site, told["batch"], *enumerate(names))
    assert {one["status"] for one in arrived} == {"accepted"}
    files = [("inputFile", (name, jpeg())) for name in names]
    form = requests.post(f"{site.url}/v1/batches", files=files, timeout=90).json()

    def is_done(batch: str) -> bool:
        return bool(requests.get(f"{site.url}/v1/batches/{batch}", timeout=10).json()["state"] == "done")

    until(lambda: is_done(form["batch"]) and is_done(told["batch"]), 90)
    expected = [name.replace("${filename}", "$(filename)") for name in names]
    for batch in (form["batch"], told["batch"]):
        found = requests.get(f"{site.url}/batches/{batch}.json", timeout=30).json()["photos"]
        assert [photo["name"] for photo in found] == expected
        assert {photo["state"] for photo in found} == {"done"}
        keys = [f"{batch}/{index:05d}/{name}" for index, name in enumerate(expected)]
        assert [one.key for one in site.cloud.inputs.list(batch)] == keys


def test_a_form_takes_its_own_photo_and_nothing_else(site: Site) -> None:
    told = offered(site, "a.jpg")
    [upload] = told["uploads"]
    other = f"{told['batch']}/00001/a.jpg"
    assert put(upload, b"x" * (LIMIT + 1)) >= 400
    assert put(upload, b"") >= 400
    assert put(upload, jpeg(), "text/html") >= 400
    assert put(upload, jpeg(), key=other) >= 400
    assert put(upload, jpeg(), **{"x-amz-signature": "0" * 64}) >= 400
    assert not list(site.cloud.inputs.list(told["batch"]))
    late = site.cloud.uploads.form("late", 1000, -1)
    assert put({"url": late.url, "fields": late.fields}, jpeg()) >= 400
    assert put(upload, b"x" * LIMIT) < 300
    assert put(upload, jpeg()) < 300  # the same photo again, until the form is too old


def test_what_is_not_a_photo_s_size_is_taken_away_again(site: Site) -> None:
    """A store that does not look at sizes: the confirmation does."""
    batch = offered(site, "a.jpg")["batch"]
    site.cloud.inputs.put(f"{batch}/00000/empty.jpg", b"", "image/jpeg")
    site.cloud.inputs.put(f"{batch}/00001/large.jpg", b"x" * (LIMIT + 1), "image/jpeg")
    arrived = confirm(site, batch, (0, "empty.jpg"), (1, "large.jpg"))
    assert [one["error"] for one in arrived] == ["the file is empty", "the file has 3 MB; at most 3 MB are taken"]
    assert not list(site.cloud.inputs.list(batch))
    assert requests.get(f"{site.url}/v1/batches/{batch}", timeout=10).json()["failed"] == 2


def test_what_was_put_and_never_confirmed_is_queued_by_the_sweeper() -> None:
    clock = ManualClock()
    cloud = memory_cloud(clock)
    job = Job(new_batch(clock.now()), 0, "a.jpg", "")
    cloud.inputs.put(job.key, jpeg(), "image/jpeg")
    sweeper = Sweeper(cloud, clock, "common", after_seconds=60, days=1)
    assert sweeper.queue_forgotten() == 0
    clock.wait(61)
    assert sweeper.queue_forgotten() == 1


BATCH = "1m7yv8wnwyewm4djehxe"


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("uploads", {"photos": []}, 400, "photos is too short: at least 1 entry"),
        ("uploads", {"photos": ["x"]}, 400, "photos[0] is not a JSON object"),
        ("uploads", {"photos": [{"name": 3}]}, 400, "photos[0].name is not a string"),
        ("uploads", {"photos": [{"name": "a", "index": -1}]}, 400, "photos[0].index is not from 0 to 99,999"),
        ("uploads", {"photos": [{"name": "a", "index": True}]}, 400, "photos[0].index is not a whole number"),
        ("uploads", {"photos": [{"name": "a"}], "batch": "x"}, 400, "batch does not have the form"),
        ("uploads", {"photos": [{"name": "a"}], "model": "nonesuch"}, 400, "not served"),
        ("uploads", {"photos": [{"name": "a"}]}, 409, "send the photos as a form"),
        (
            f"batches/{BATCH}/photos/confirm",
            {"photos": [{"name": "a"}]},
            400,
            "photos[0] has no field 'index'",
        ),
        (
            f"batches/{BATCH}/photos/confirm",
            {"photos": [{"name": "a", "index": 1.5}]},
            400,
            "photos[0].index is not a whole number",
        ),
        ("batches/x/photos/confirm", {"photos": [{"name": "a"}]}, 404, "unknown"),
        (f"batches/{BATCH}/photos/confirm", {}, 400, "The body has no field 'photos'"),
    ],
)
def test_a_malformed_request_is_told_why(path: str, body: dict[str, Any], status: int, detail: str) -> None:
    with running_site(work=False) as site:
        reply = requests.post(f"{site.url}/v1/{path}", json=body, timeout=10)
        assert (reply.status_code, detail in reply.json()["detail"]) == (status, True), reply.text


def test_the_switch(cloud: Cloud) -> None:
    for choice, on in (("on", True), ("off", False)):
        with running_site(cloud, work=False, direct_uploads=choice, private_data="keep") as site:
            reply = requests.get(site.url, timeout=10)
            assert services(site).direct.on is on
            assert (cloud.uploads.origin in reply.headers["Content-Security-Policy"]) is on


def test_photos_whose_private_data_are_removed_go_through_the_server(cloud: Cloud) -> None:
    with running_site(cloud, work=False) as site:
        reply = requests.post(f"{site.url}/v1/uploads", json={"photos": [{"name": "a"}]}, timeout=10)
        assert (reply.status_code, services(site).direct.origin) == (409, "")


@pytest.fixture
def lax_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto's S3, which takes whatever is sent."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}.items():
        monkeypatch.setenv(name, value)
    forget_session(monkeypatch)
    yield
    server.stop()


def test_a_store_that_does_not_keep_to_its_forms_is_found_out(lax_store: None) -> None:
    settings = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    create_bucket(client("s3"), settings.in_bucket)
    allow_forms(client("s3"), settings.in_bucket)
    real = connect(settings)
    assert not real.uploads.works()
    assert not list(real.inputs.list(""))
    form = real.uploads.form("a/b.jpg", LIMIT, 60)
    assert put({"url": form.url, "fields": form.fields}, jpeg()) < 300  # and yet what it is sent arrives
    assert real.inputs.get("a/b.jpg") == jpeg()
    with running_site(
        replace(memory_cloud(SystemClock()), uploads=real.uploads), work=False, private_data="keep"
    ) as site:
        assert not services(site).direct.on
        assert requests.post(f"{site.url}/v1/uploads", json={"photos": [{"name": "a"}]}, timeout=10).status_code == 409


def test_the_sweeper_removes_the_test_uploads_of_a_process_that_was_killed(cloud: Cloud) -> None:
    form = cloud.uploads.form(f"{PROBE_PREFIX}0123", LIMIT, 60)
    assert put({"url": form.url, "fields": form.fields}, jpeg()) < 300
    now = time.time()
    assert not list(cloud.inputs.list("", batch_floor(now - 9 * DAY_SECONDS)))  # no listing of photos shows it
    for age, left in ((0.0, 1), (PROBE_SECONDS - 60, 1), (PROBE_SECONDS + 60, 0)):
        Sweeper(cloud, ManualClock(now + age), "common", after_seconds=60, days=1).sweep()
        assert len(list(cloud.inputs.list(PROBE_PREFIX))) == left


def test_the_test_of_the_store_leaves_nothing_behind(cloud: Cloud) -> None:
    assert cloud.uploads.works()
    assert not list(cloud.inputs.list(""))


def test_a_cloud_in_memory_has_no_forms() -> None:
    uploads = memory_cloud(SystemClock()).uploads
    assert (uploads.origin, uploads.works(), uploads.remove_probes(0)) == ("", False, 0)
    with pytest.raises(Permanent):
        uploads.form("k", 1, 1)


# The page


@pytest.fixture
def page() -> Iterator[Page]:
    with chromium() as browser:
        context = browser.new_context(viewport=DESKTOP)
        page = context.new_page()
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda one: problems.append(one.text) if "Security Policy" in one.text else None)
        yield page
        context.close()
        assert problems == []


def label(page: Page, site: Site, *photos: tuple[str, bytes]) -> None:
    page.goto(site.url)
    files: Any = [{"name": name, "mimeType": "image/png", "buffer": body} for name, body in photos]
    page.set_input_files("#files", files)
    page.click("#go")


def test_the_page_sends_large_photos_to_the_bucket_and_small_ones_in_a_form(site: Site, page: Page) -> None:
    sent: list[str] = []
    page.on("request", lambda one: sent.append(one.url) if one.method == "POST" else None)
    label(page, site, ("test_0.png", noise(1_200_000)), ("small.jpg", jpeg()), ("large.png", noise(1_400_000)))
    expect(page.locator("#status")).to_contain_text("Done: 3 photos", timeout=20_000)
    to_bucket = [url for url in sent if url.startswith(site.cloud.uploads.origin)]
    assert len(to_bucket) == 2
    assert sum("/photos?first=" in url for url in sent) == 1
    assert sum(url.endswith("/photos/confirm") for url in sent) == 2


def test_the_page_goes_through_the_server_when_the_bucket_cannot_be_reached(cloud: Cloud, page: Page) -> None:
    class Unreachable:
        origin = "http://127.0.0.1:9"

        def works(self) -> bool:
            return True

        def form(self, key: str, most_bytes: int, seconds: int) -> UploadForm:
            return UploadForm("http://127.0.0.1:9/bucket", {"key": key})

        def remove_probes(self, before: float) -> int:
            return 0

    with running_site(replace(cloud, uploads=Unreachable()), max_file_bytes=LIMIT, private_data="keep") as site:
        until(lambda: services(site).direct.on)
        label(page, site, ("test_0.png", noise(1_200_000)), ("large.png", noise(1_300_000)))
        expect(page.locator("#status")).to_contain_text("Done: 2 photos", timeout=20_000)
