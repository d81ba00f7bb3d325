"""The storage is full: each photo gets a clear answer, readiness says it, and all goes on once there is space."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import requests

from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from tests.waiting import until
from tests.web_fixtures import LimitedStore, Site, jpeg, running_site


@pytest.fixture
def inputs() -> LimitedStore:
    return LimitedStore()


@pytest.fixture
def outputs() -> LimitedStore:
    return LimitedStore()


@pytest.fixture
def site(inputs: LimitedStore, outputs: LimitedStore) -> Iterator[Site]:
    with running_site(replace(memory_cloud(SystemClock()), inputs=inputs, outputs=outputs)) as running:
        yield running


SMALL, LARGE = jpeg(), jpeg(size=(900, 900))
FILES = [("inputFile", ("small.jpg", SMALL)), ("inputFile", ("large.jpg", LARGE)), ("inputFile", ("other.jpg", LARGE))]


def ready(site: Site) -> tuple[int, str]:
    reply = requests.get(f"{site.url}/readyz", timeout=30)
    return reply.status_code, str(reply.json()["checks"]["input bucket"])


def test_the_photos_that_have_no_space_are_named_and_the_others_are_labelled(site: Site, inputs: LimitedStore) -> None:
    inputs.largest = len(SMALL)
    batch = requests.post(f"{site.url}/batches", timeout=30).json()["batch"]
    url, headers = f"{site.url}/batches/{batch}/photos", {"Accept": "application/json"}
    reply = requests.post(url, files=FILES, headers=headers, timeout=30)
    assert reply.status_code == 507
    assert reply.json()["error"] == (
        f"The storage is full. Not kept: large.jpg, other.jpg. 1 photo of this request is kept, in /batches/{batch}."
    )
    assert int(reply.headers["Retry-After"]) > 0
    until(lambda: requests.get(f"{url[:-7]}.json", timeout=30).json()["photos"][0]["state"] == "done")

    inputs.largest = len(LARGE)
    reply = requests.post(url, files=FILES, headers=headers, timeout=30)
    assert [one["status"] for one in reply.json()] == ["accepted"] * 3
    until(
        lambda: [one["state"] for one in requests.get(f"{url[:-7]}.json", timeout=30).json()["photos"]] == ["done"] * 3
    )


@pytest.mark.parametrize(
    ("path", "accept", "kind"),
    [("/", "text/html", "text/html"), ("/", "*/*", "text/plain"), ("/v1/batches", "*/*", "application/problem+json")],
)
def test_every_way_in_says_it(site: Site, inputs: LimitedStore, path: str, accept: str, kind: str) -> None:
    inputs.largest = 0
    reply = requests.post(f"{site.url}{path}", files=FILES, headers={"Accept": accept}, timeout=30)
    assert reply.status_code == 507
    assert reply.headers["Content-Type"].startswith(kind)
    assert "The storage is full. Not kept: small.jpg, large.jpg, other.jpg." in reply.text
    assert list(inputs.list("")) == []


def test_a_refusal_that_cannot_be_stored_is_told_as_well(site: Site, outputs: LimitedStore) -> None:
    outputs.largest = 0
    reply = requests.post(site.url, files={"inputFile": ("broken.jpg", b"no image")}, timeout=30)
    assert (reply.status_code, "Not kept: broken.jpg" in reply.text) == (507, True)


def test_readiness_says_that_a_bucket_is_full_and_notices_by_itself_that_it_is_not(
    site: Site, inputs: LimitedStore
) -> None:
    assert ready(site) == (200, "ok")
    inputs.largest = len(SMALL)
    assert requests.post(site.url, files={"inputFile": ("large.jpg", LARGE)}, timeout=30).status_code == 507
    assert requests.post(site.url, files={"inputFile": ("small.jpg", SMALL)}, timeout=30).status_code == 200
    assert ready(site) == (503, "no space left")  # a small photo that had room says nothing of the large ones
    inputs.largest = len(LARGE)
    assert ready(site) == (200, "ok")
    assert {one.key for one in inputs.list("-")} == set()
