"""What is kept of photos, and for how long: without what tells of their sender, and nothing once a batch is deleted."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, expect

from controller.sweeper import Sweeper
from shoal.buckets import deleted_batches, pending_photos, retention, suspects
from shoal.clock import SystemClock
from shoal.memory import ManualClock, MemoryStore, memory_cloud
from shoal.messages import Job, Result, new_batch
from shoal.ports import Cloud
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from web_tier.results.tidying import Tidying

BUTTONS = ".actions > :is(button, a, details):visible"


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


def sent(site: Site, *names: str) -> str:
    """The id of a batch whose photos are answered."""
    files = [("inputFile", (name, jpeg())) for name in names]
    headers = {"Prefer": "wait=20"}
    return str(requests.post(f"{site.url}/v1/batches", files=files, headers=headers, timeout=30).json()["batch"])


def names_of(cloud: Cloud, batch: str) -> list[str]:
    """The objects of both buckets that name the batch, in their key or in their body."""
    return [
        one.key
        for store in (cloud.inputs, cloud.outputs)
        for one in store.list("")
        if batch in one.key or batch.encode() in store.get(one.key)
    ]


@pytest.mark.parametrize("private_data", ["remove", "keep"])
def test_what_tells_of_the_sender_is_not_stored_unless_the_operator_wants_it(private_data: str) -> None:
    place = Image.Exif()
    place[0x0112], place[0x013B] = 6, "Ada Lovelace"
    place.get_ifd(0x8825)[7] = (51, 14, 4)
    told = io.BytesIO()
    Image.new("RGB", (32, 24), "teal").save(told, "JPEG", exif=place)
    body = told.getvalue()
    coded = {"photos": [{"name": "c.jpg", "data": base64.b64encode(body).decode()}]}
    with running_site(private_data=private_data) as site:
        requests.post(site.url, files={"inputFile": ("a.jpg", body)}, timeout=20)
        requests.post(f"{site.url}/v1/label?name=b.jpg", data=body, timeout=20)
        requests.post(f"{site.url}/v1/batches", json=coded, timeout=20)
        stored = [site.cloud.inputs.get(one.key) for one in site.cloud.inputs.list("")]

    assert len(stored) == 3
    for photo in stored:
        with Image.open(io.BytesIO(photo)) as found:
            exif = found.getexif()
        assert exif[0x0112] == 6
        assert (photo == body, 0x013B in exif, bool(exif.get_ifd(0x8825))) == ((private_data == "keep",) * 3)


def test_of_a_deleted_batch_nothing_is_left(site: Site) -> None:
    batch, other = sent(site, "a.jpg", "b.jpg", "fail.jpg"), sent(site, "c.jpg")
    page = f"{site.url}/batches/{batch}"
    requests.post(f"{page}/photos/0/correction", data={"label": "tabby"}, timeout=10)
    services = site.server._services
    services.webhooks.register(batch, "https://example.org/", 9)
    pending_photos.PendingPhotos(site.cloud.outputs, batch, 5).cover(7)
    suspects.count(site.cloud.outputs, f"{batch}/00001/b.jpg")
    assert len(names_of(site.cloud, batch)) == 3 + 3 + 4

    reply = requests.delete(f"{site.url}/v1/batches/{batch}", timeout=10)

    assert (reply.status_code, reply.json()) == (200, {"batch": batch, "photos": 3})
    assert names_of(site.cloud, batch) == [f"deleted/{batch}"]
    assert not [key for key in services.hub._results if key.startswith(batch)]
    assert requests.get(f"{site.url}/v1/batches/{other}", timeout=10).json()["done"] == 1
    paths = ["", ".json", ".csv", "/events", "/photos/0/thumbnail", "/photos/0/picture", "/photos/0/more"]
    for address in [*(page + path for path in paths), f"{site.url}/v1/batches/{batch}/results"]:
        assert requests.get(address, timeout=10).status_code == 404, address
    assert requests.delete(f"{site.url}/v1/batches/{batch}", timeout=10).status_code == 404


def test_photos_that_are_still_on_their_way_are_not_taken(site: Site) -> None:
    batch = str(requests.post(f"{site.url}/batches", timeout=10).json()["batch"])
    requests.delete(f"{site.url}/v1/batches/{batch}", timeout=10)

    files = {"inputFile": ("a.jpg", jpeg())}
    reply = requests.post(f"{site.url}/batches/{batch}/photos", files=files, timeout=10)

    assert reply.status_code == 404
    assert names_of(site.cloud, batch) == [f"deleted/{batch}"]


class Deleting(MemoryStore):
    """Has a batch deleted at the moment at which its first photo is stored."""

    batch = ""
    url = ""

    def put(self, key: str, body: bytes, content_type: str) -> None:
        super().put(key, body, content_type)
        if self.batch and key.startswith(self.batch):
            batch, self.batch = self.batch, ""
            requests.delete(f"{self.url}/v1/batches/{batch}", timeout=10)


def test_a_batch_that_is_deleted_while_its_photos_are_stored_is_gone() -> None:
    store = Deleting(SystemClock())
    with running_site(replace(memory_cloud(SystemClock()), inputs=store), work=False) as site:
        batch = str(requests.post(f"{site.url}/batches", timeout=10).json()["batch"])
        store.batch, store.url = batch, site.url
        files = [("inputFile", (f"{number}.jpg", jpeg())) for number in range(5)]

        reply = requests.post(f"{site.url}/batches/{batch}/photos", files=files, timeout=20)

        assert reply.status_code == 404
        assert names_of(site.cloud, batch) == [f"deleted/{batch}"]
        site.worker.step()  # the messages that were sent meanwhile
        assert not site.cloud.requests.depth().total


def test_a_response_that_comes_later_is_dropped(site: Site) -> None:
    batch = sent(site, "a.jpg")
    requests.delete(f"{site.url}/v1/batches/{batch}", timeout=10)
    late = Result(Job(batch, 0, "a.jpg", "").key, "done")

    site.cloud.responses.send([late.to_json()])

    until(lambda: not site.cloud.responses.depth().total)
    assert site.server._services.hub.recall(late.key) is None


def test_the_sweeper_deletes_what_was_written_late_and_at_last_the_tombstone() -> None:
    clock = ManualClock(1_800_000_000.0)
    cloud, batch = memory_cloud(clock), new_batch(1_800_000_000.0)
    sweeper = Sweeper(cloud, clock, "common", after_seconds=60, days=4)
    deleted_batches.mark(cloud.outputs, batch)
    job = Job(batch, 0, "a.jpg", "common")
    cloud.inputs.put(job.key, b"a", "image/jpeg")
    cloud.outputs.put(job.key, Result(job.key, "done").to_json().encode(), "application/json")

    sweeper.sweep()

    assert names_of(cloud, batch) == [f"deleted/{batch}"]
    cloud.dead_letters.send([job.to_json()])
    sweeper.sweep()
    assert names_of(cloud, batch) == [f"deleted/{batch}"]  # its dead letter got no failed result
    clock.wait(deleted_batches.KEPT_SECONDS + 1)
    sweeper.sweep()
    assert names_of(cloud, batch) == []


@pytest.mark.parametrize("script", [True, False])
def test_the_page_deletes_its_batch(site: Site, browser: Browser, script: bool) -> None:
    context = browser.new_context(java_script_enabled=script)
    page = context.new_page()
    batch = sent(site, "a.jpg")
    page.goto(f"{site.url}/batches/{batch}")
    expect(page.locator("#photos li").first).to_be_visible()
    for width in (360, 800, 1280):
        page.set_viewport_size({"width": width, "height": 740})
        rows = {round(box["y"]) for box in (one.bounding_box() for one in page.locator(BUTTONS).all()) if box}
        assert len(rows) == 1, width

    page.get_by_text("Delete …").click()
    page.get_by_role("button", name="Delete this batch").click()

    page.wait_for_url(f"{site.url}/")
    assert names_of(site.cloud, batch) == [f"deleted/{batch}"]
    if script:
        expect(page.locator("#mine")).to_be_hidden()  # this browser does not list it any more
    context.close()


def test_batches_go_when_they_are_older_than_the_operator_keeps_them() -> None:
    clock = ManualClock(1_800_000_000.0)
    cloud, day = memory_cloud(clock), 24 * 3600.0
    old, new = (new_batch(clock.now() - age * day) for age in (31, 29))
    for batch in (old, new):
        job = Job(batch, 0, "a.jpg", "common")
        cloud.inputs.put(job.key, b"a", "image/jpeg")
        for key in (job.key, f"corrections/{job.key}", f"webhooks/{batch}/record", f"accounts/batches/u-ada/{batch}"):
            cloud.outputs.put(key, Result(job.key, "done").to_json().encode(), "application/json")
    for store in (cloud.inputs, cloud.outputs):
        store.put("0-of-somebody-else/a.jpg", b"a", "image/jpeg")
    cloud.outputs.put("foreign/a.json", b"{}", "application/json")

    Sweeper(cloud, clock, "common", after_seconds=60, days=4).sweep()
    assert len(names_of(cloud, old)) == 5  # kept for good unless the operator says otherwise
    Sweeper(cloud, clock, "common", after_seconds=60, days=4, keep_days=30).sweep()

    assert (len(names_of(cloud, old)), len(names_of(cloud, new))) == (0, 5)
    assert [one.key for one in cloud.inputs.list("0")] == ["0-of-somebody-else/a.jpg"]
    assert len(list(cloud.outputs.list("foreign/"))) == 1


def test_many_old_batches_take_several_sweeps() -> None:
    clock = ManualClock(1_800_000_000.0)
    cloud = memory_cloud(clock)
    batch = new_batch(clock.now() - 40 * 24 * 3600)
    for index in range(retention.MOST + 10):
        cloud.inputs.put(Job(batch, index, "a.jpg", "").key, b"a", "image/jpeg")
    sweeper = Sweeper(cloud, clock, "common", after_seconds=60, days=0.01, keep_days=30)
    for left in (10, 0):
        sweeper.sweep()
        assert len(names_of(cloud, batch)) == left


def test_without_a_controller_the_server_deletes_what_is_old() -> None:
    clock = ManualClock(1_800_000_000.0)
    cloud = memory_cloud(clock)
    batch = new_batch(clock.now() - 40 * 24 * 3600)
    cloud.inputs.put(Job(batch, 0, "a.jpg", "").key, b"a", "image/jpeg")
    Tidying(cloud, clock, 0.0).tidy()
    assert len(names_of(cloud, batch)) == 1
    Tidying(cloud, clock, 30.0).tidy()
    assert names_of(cloud, batch) == []
