"""The API for programs: what it takes, what it answers, and that its description tells the truth."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from shoal.buckets import passing_records
from shoal.clock import SystemClock
from shoal.memory import ManualClock, memory_cloud
from shoal.messages import Result, new_batch
from tests.test_web_fetch import serving
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from web_tier.intake import idempotency
from web_tier.problems import Problem

PHOTO = jpeg()


@pytest.fixture(scope="module")
def photos_port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture(scope="module")
def site(photos_port: int) -> Iterator[Site]:
    with running_site(fetch_own=f"127.0.0.1:{photos_port}", fetch_seconds=1.0) as running:
        yield running


def post(site: Site, **request: Any) -> requests.Response:
    return requests.post(f"{site.url}/v1/batches", timeout=30, **request)


def form(*names: str) -> list[tuple[str, tuple[str, bytes]]]:
    return [("inputFile", (name, PHOTO)) for name in names]


def base64_of(payload: bytes) -> str:
    return base64.b64encode(payload).decode()


def test_a_submission_is_answered_at_once_and_found_again(site: Site) -> None:
    reply = post(site, files=[("_charset_", (None, "utf-8")), *form("test_0.jpg", "b.jpg")])
    assert reply.status_code in (200, 202)  # 200 if both are labelled already
    told = reply.json()
    assert (told["total"], [photo["name"] for photo in told["photos"]]) == (2, ["test_0.jpg", "b.jpg"])
    here = f"{site.url}{reply.headers['Location']}"
    until(lambda: requests.get(here, timeout=10).json()["state"] == "done")
    found = requests.get(f"{site.url}{told['results']}", timeout=10).json()
    assert [photo["state"] for photo in found["photos"]] == ["done", "done"]
    assert found["photos"][0]["labels"][0]["name"] == "hair_spray"
    one = requests.get(f"{here}/photos/1", timeout=10).json()
    assert one == found["photos"][1]
    assert requests.get(f"{site.url}{told['page']}", timeout=10).status_code == 200


def test_a_client_that_prefers_to_wait_gets_the_labels(site: Site) -> None:
    reply = post(site, files=form("test_0.jpg"), headers={"Prefer": "respond-async, wait=20"})
    assert (reply.status_code, reply.headers["Preference-Applied"]) == (200, "wait=20")
    assert reply.json()["photos"][0]["labels"][0]["name"] == "hair_spray"


def test_waiting_ends_when_its_time_is_over() -> None:
    with running_site(work=False) as idle:
        reply = post(idle, files=form("a.jpg"), headers={"Prefer": "wait=1"})
    assert (reply.status_code, reply.json()["queued"]) == (202, 1)


def test_photos_come_as_base64_and_by_address(site: Site, photos_port: int) -> None:
    there = f"http://127.0.0.1:{photos_port}"
    photos = [
        {"name": "test_0.jpg", "data": base64_of(PHOTO)},
        {"data": f"data:image/jpeg;base64,{base64_of(PHOTO)}"},
        {"url": f"{there}/cat.jpg"},
        {"name": "mine.jpg", "url": f"{there}/to?/cat.jpg"},
        {"name": "bad.jpg", "data": "???"},
        {"url": f"{there}/page.html"},
        {"url": "http://169.254.169.254/latest/meta-data/"},
        {"name": "text.jpg", "data": base64_of(b"no image")},
    ]
    reply = post(site, json={"photos": photos}, headers={"Prefer": "wait=20"})
    assert reply.status_code == 200
    told = reply.json()["photos"]
    assert [photo["name"] for photo in told] == [
        "test_0.jpg", "photo-1", "cat.jpg", "mine.jpg", "bad.jpg", "page.html", "meta-data", "text.jpg",
    ]  # fmt: skip
    assert [photo["state"] for photo in told] == ["done"] * 4 + ["failed"] * 4
    assert [photo["error"] for photo in told[4:7]] == [
        "the data is not valid base64",
        "the address holds 'text/html', not an image",
        "the host in the address is not on the public internet",
    ]


def test_a_batch_of_refused_photos_is_done_at_once(site: Site) -> None:
    reply = post(site, files=[("inputFile", ("a.jpg", b"no image"))])
    assert (reply.status_code, reply.json()["state"], reply.json()["failed"]) == (200, "done", 1)


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        ({"data": b"x", "headers": {"Content-Type": "text/plain"}}, 415, "multipart/form-data"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "not valid JSON"),
        ({"data": b"[" * 100_000, "headers": {"Content-Type": "application/json"}}, 400, "not valid JSON"),
        ({"json": []}, 400, "not a JSON object"),
        ({"json": {"photos": []}}, 400, "photos is too short: at least 1 entry"),
        ({"json": {"photos": ["x"]}}, 400, r"photos\[0\] is not a JSON object"),
        (
            {"json": {"photos": [{"data": "AA==", "url": "http://x"}]}},
            400,
            "needs either data or url, and not both",
        ),
        ({"json": {"photos": [{"data": 3}]}}, 400, r"photos\[0\]\.data is not a string"),
        (
            {"json": {"photos": [{"data": "AA==", "size": 1}]}},
            400,
            "unknown field 'size'; known are data, name, url",
        ),
        (
            {"json": {"photos": [{"data": "AA==", "name": "x" * 1001}]}},
            400,
            "name is too long: at most 1,000",
        ),
        ({"json": {"photos": [{"data": "AA=="}], "model": None}}, 400, "model is not a string"),
        ({"json": {"photos": [{"data": "AA=="}]}, "params": {"model": ""}}, 400, "not served here"),
        ({"json": {"photos": [{"data": "AA=="}] * 1001}}, 400, "photos is too long: at most 1,000 entries"),
        ({"json": {"photos": [{"data": "AA=="}], "model": "os:system"}}, 400, "not served here. These are: resnet50"),
        ({"files": form("a.jpg"), "params": {"model": "nonesuch"}}, 400, "not served here"),
        ({"files": [("model", (None, "nonesuch")), *form("a.jpg")]}, 400, "not served here"),
        ({"files": [*form("a.jpg"), ("model", (None, "resnet50"))]}, 400, "before the photos"),
        ({"files": {"other": b"x"}}, 400, "field inputFile"),
        ({"files": [("modle", (None, "resnet50")), *form("a.jpg")]}, 400, "no field 'modle' .* Did you mean model?"),
        ({"files": [*form("a.jpg"), ("webhook", (None, "http://x"))]}, 400, "no field 'webhook' .* in the query"),
        ({"files": [*form("a.jpg"), ("inputfile", ("b.jpg", PHOTO))]}, 400, "Did you mean inputFile?"),
        (
            {"json": {"photos": [{"data": "AA=="}], "webhok": "http://x"}},
            400,
            "The body has an unknown field 'webhok'; known are model, photos, webhook",
        ),
        ({"files": form("a.jpg"), "headers": {"Idempotency-Key": "x" * 256}}, 400, "Idempotency-Key"),
    ],
)
def test_a_malformed_request_gets_a_problem_document(
    site: Site, request_: dict[str, Any], status: int, detail: str
) -> None:
    reply = post(site, **request_)
    assert reply.status_code == status
    assert reply.headers["Content-Type"] == "application/problem+json"
    told = reply.json()
    assert (told["type"], told["status"]) == ("about:blank", status)
    assert told["title"]
    assert re.search(detail, told["detail"])


@pytest.mark.parametrize("path", ["/v1/nonesuch", "/v1/batches/nonesuch", f"/v1/batches/{'0' * 20}/results"])
def test_what_is_not_there_is_a_problem_document(site: Site, path: str) -> None:
    reply = requests.get(f"{site.url}{path}", headers={"Accept": "text/html"}, timeout=10)
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    ("method", "path", "told"),
    [
        ("POST", "/v1/batches?modle=resnet50", "There is no parameter 'modle' here. Did you mean model?"),
        ("GET", "/v1/batches/{batch}/results?first=3", "There is no parameter 'first' here. It can be after or limit."),
        ("GET", "/v1/batches/{batch}?verbose=1", "There is no parameter 'verbose' here."),
    ],
)
def test_a_misspelt_parameter_is_refused_and_the_right_one_named(site: Site, method: str, path: str, told: str) -> None:
    batch = new_batch(time.time())
    files = {"inputFile": ("a.jpg", PHOTO)} if method == "POST" else None
    reply = requests.request(method, site.url + path.format(batch=batch), files=files, timeout=10)
    assert (reply.status_code, reply.json()["detail"]) == (400, told)


def test_the_model_that_was_asked_for_reaches_the_worker(site: Site) -> None:
    batch = post(site, files=[("model", (None, "resnet50")), *form("a.jpg")]).json()["batch"]
    until(lambda: f"{batch}/00000@resnet50/a.jpg" in site.worker.handled)
    batch = post(site, json={"photos": [{"name": "a.jpg", "data": base64_of(PHOTO)}], "model": "resnet50"}).json()[
        "batch"
    ]
    until(lambda: f"{batch}/00000@resnet50/a.jpg" in site.worker.handled)
    assert requests.get(f"{site.url}/batches/{batch}/photos/0/thumbnail", timeout=10).status_code == 200


def test_results_come_page_by_page(site: Site) -> None:
    told = post(site, files=form(*(f"{number}.jpg" for number in range(7))), headers={"Prefer": "wait=20"}).json()
    seen: list[int] = []
    following = f"{told['results']}?limit=3"
    while following:
        page = requests.get(f"{site.url}{following}", timeout=10).json()
        assert len(page["photos"]) <= 3
        seen += [photo["index"] for photo in page["photos"]]
        following = page["next"]
    assert seen == list(range(7))


def test_the_same_key_makes_one_batch(site: Site) -> None:
    def submit(key: str, *names: str) -> requests.Response:
        return post(site, files=form(*names), headers={"Idempotency-Key": key, "Prefer": "wait=20"})

    with ThreadPoolExecutor(6) as clients:
        replies = list(clients.map(lambda _: submit("together", "a.jpg", "b.jpg"), range(6)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.json()["batch"] for reply in replies}) == 1
    told = [reply.headers.get("Idempotent-Replayed") for reply in replies]
    assert (told.count(None), told.count("true")) == (1, 5)
    assert submit("together", "a.jpg", "b.jpg").json()["batch"] == replies[0].json()["batch"]
    assert submit("another", "a.jpg", "b.jpg").json()["batch"] != replies[0].json()["batch"]
    other = submit("together", "a.jpg", "b.jpg", "c.jpg")
    assert (other.status_code, other.json()["detail"]) == (422, "This Idempotency-Key was used for another request.")


def test_a_request_that_is_refused_does_not_use_up_its_key(site: Site) -> None:
    headers = {"Idempotency-Key": "corrected", "Prefer": "wait=20"}
    refused = post(site, files=form("a.jpg"), data={"model": "resnet5"}, headers=headers)
    assert (refused.status_code, "resnet5" in refused.json()["detail"]) == (400, True)
    corrected = post(site, files=form("a.jpg"), headers=headers)
    assert (corrected.status_code, corrected.headers.get("Idempotent-Replayed")) == (200, None)


def test_a_key_of_a_stranger_is_worth_nothing_without_the_same_body(site: Site) -> None:
    key = {"Idempotency-Key": "1"}
    mine = post(site, files=[("inputFile", ("a.jpg", jpeg((9, 9, 9)), "image/jpeg"))], headers=key)
    theirs = post(site, files=[("inputFile", ("a.jpg", jpeg((9, 9, 8)), "image/jpeg"))], headers=key)
    assert mine.request.headers["Content-Length"] == theirs.request.headers["Content-Length"]
    assert (mine.ok, theirs.status_code) == (True, 422)  # 202, or 200 if it is labelled already
    assert mine.json()["batch"] not in theirs.text


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
def test_a_body_has_one_digest_whatever_its_boundary_and_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "CHUNK_BYTES", chunk)
    picture = bytes(range(256)) * 3

    def digest(boundary: str, content: bytes = picture) -> str:
        mark = boundary.encode()
        body = io.BytesIO(b"--" + mark + b"\r\n\r\n" + content + b"\r\n--" + mark + b"--\r\n")
        found = idempotency.body_digest(body, f"multipart/form-data; boundary={boundary}")
        assert body.tell() == 0
        return found

    assert digest("x0x1x2x3") == digest("another-and-longer-boundary") == digest("x0x1x2x3")
    assert digest("x0x1x2x3") != digest("x0x1x2x3", picture[:-1] + b"!")


def test_a_key_is_forgotten_after_a_day() -> None:
    cloud, clock = memory_cloud(SystemClock()), ManualClock(1e9)

    def batch(fingerprint: str, fresh: str) -> str:
        return idempotency.claim(cloud.outputs, clock, "k", fingerprint, fresh).batch

    first, second = new_batch(1e9), new_batch(1e9 + 1)
    assert (batch("one", first), batch("one", second)) == (first, first)
    with pytest.raises(Problem):
        batch("another", second)
    clock.wait(passing_records.KEPT_SECONDS)
    assert (batch("another", second), batch("another", first)) == (second, second)


def test_a_submission_that_broke_off_is_completed_by_its_key(site: Site) -> None:
    """The first request wrote its key down and died before it stored a photo."""
    with running_site(site.cloud, work=False) as broken:
        broken.server._services.hub.stop()
        reply = post(broken, files=form("a.jpg"), headers={"Idempotency-Key": "broken"})
        assert reply.status_code == 503
    reply = post(site, files=form("a.jpg"), headers={"Idempotency-Key": "broken", "Prefer": "wait=20"})
    assert (reply.status_code, reply.json()["done"]) == (200, 1)


def test_a_cancelled_batch_is_not_labelled() -> None:
    with running_site(work=False) as idle:
        told = post(idle, files=form("a.jpg", "b.jpg")).json()
        here = f"{idle.url}/v1/batches/{told['batch']}"
        done = f"{told['batch']}/00000/a.jpg"
        idle.cloud.outputs.put(done, Result(done, "done").to_json().encode(), "application/json")
        assert requests.post(f"{here}/cancel", timeout=10).json() == {"cancelled": 1, "labelled": 1}
        assert requests.post(f"{here}/cancel", timeout=10).json() == {"cancelled": 1, "labelled": 1}
        counts = requests.get(here, timeout=10).json()
        assert (counts["done"], counts["failed"], counts["cancelled"]) == (1, 0, 1)
        assert (idle.worker.step(), idle.worker.handled) == (2, [done])
        photo = requests.get(f"{here}/photos/1", timeout=10).json()
        assert (photo["state"], photo["error"]) == ("cancelled", "cancelled")
        told = requests.get(here, timeout=10).json()
        assert (told["state"], told["cancelled"], told["done"]) == ("cancelled", 1, 1)


def test_models_are_listed(site: Site) -> None:
    found = requests.get(f"{site.url}/v1/models", timeout=10).json()
    assert found == {"models": [{"name": "resnet50", "task": "classify", "default": True}]}


def test_the_description_names_the_venues_that_are_allowed_here(site: Site) -> None:
    paths = requests.get(f"{site.url}/openapi.json", timeout=10).json()["paths"]
    for path in ("/v1/batches", "/v1/label"):
        (venue,) = (one["schema"] for one in paths[path]["post"]["parameters"] if one["name"] == "venue")
        assert venue["enum"] == ["", "pool"]


def test_the_limits_in_the_description_are_the_limits_of_the_checks(site: Site) -> None:
    described = requests.get(f"{site.url}/openapi.json", timeout=10).json()
    photos = described["components"]["schemas"]["Submission"]["properties"]["photos"]
    uploads = described["paths"]["/v1/uploads"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    photo = uploads["properties"]["photos"]["items"]["properties"]

    def status(path: str, *photos: dict[str, Any]) -> int:
        return requests.post(f"{site.url}{path}", json={"photos": photos}, timeout=30).status_code

    most = [{"name": "a", "data": "?"}] * photos["maxItems"]
    assert [status("/v1/batches", *most), status("/v1/batches", *most, most[0])] == [200, 400]
    for name in ("x" * photo["name"]["maxLength"], "x" * (photo["name"]["maxLength"] + 1)):
        expected = 409 if len(name) <= photo["name"]["maxLength"] else 400  # 409: the body is good, uploads are off
        assert status("/v1/uploads", {"name": name}) == expected
    for index in (photo["index"]["maximum"], photo["index"]["maximum"] + 1):
        expected = 409 if index <= photo["index"]["maximum"] else 400
        assert status("/v1/uploads", {"name": "a", "index": index}) == expected


def test_the_description_gives_the_limits_of_a_page_of_results(site: Site) -> None:
    results = f"{site.url}/v1/batches/{new_batch(0)}/results"
    described = requests.get(f"{site.url}/openapi.json", timeout=10).json()
    parameters = described["paths"]["/v1/batches/{batch}/results"]["get"]["parameters"]
    schemas = {parameter["name"]: parameter["schema"] for parameter in parameters}
    for name in ("after", "limit"):
        least, most = schemas[name]["minimum"], schemas[name]["maximum"]
        statuses = [
            requests.get(results, params={name: value}, timeout=10).status_code
            for value in (least - 1, least, most, most + 1)
        ]
        assert statuses == [400, 404, 404, 400]


def test_the_description_is_true(site: Site, tmp_path: Path) -> None:
    """schemathesis sends what the document allows and what it forbids, and checks each answer against it."""
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{site.url}/openapi.json"]
    options = ["--max-examples=15", "--generation-deterministic", "--no-color"]
    # 422: its examples use one idempotency key for several bodies.
    accepted = ["2xx", "401", "403", "404", "409", "422", "5xx"]
    (tmp_path / "schemathesis.toml").write_text(f"[checks.positive_data_acceptance]\nexpected-statuses = {accepted}\n")
    done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=240)
    told = [line[:400] for line in done.stdout.splitlines()]
    assert done.returncode == 0, "\n".join([*told, done.stderr[-2000:]])
    assert "22 selected" in done.stdout or "22 tested" in done.stdout, done.stdout[-2000:]
