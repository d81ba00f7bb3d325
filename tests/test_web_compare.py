"""The page that compares venues: the operator starts a comparison, sees how far it is, and gets answer and figures."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from shoal.messages import Label, Result
from tests import device_fixtures
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site
from tests.web_screenshots import CHROMIUM

expect.set_options(timeout=20_000)

SECRET = "sixteen or more letters"
NOTHING = "Nothing has been compared"


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site(operator_secret=SECRET) as running:
        yield running


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """The operator's browser, without JavaScript."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def sign_in(page: Page, site: Site) -> None:
    page.goto(f"{site.url}/fleet/sign-in")
    page.fill("#secret", SECRET)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Which venue is worth it?").click()


def operator(site: Site) -> requests.Session:
    session = requests.Session()
    session.post(f"{site.url}/fleet/sign-in", data={"secret": SECRET}, timeout=10)
    return session


def start(site: Site, session: requests.Session, *photos: bytes, **fields: Any) -> requests.Response:
    page = session.get(f"{site.url}/fleet/compare", timeout=10).text
    token = found[1] if (found := re.search(r'name="token" value="([^"]+)"', page)) else ""
    form = {"token": token, "rounds": "1", "images_a_day": "1000", **fields}
    files = [("inputFile", (f"{number}.jpg", photo)) for number, photo in enumerate(photos)] or [
        ("inputFile", ("", b""))
    ]
    return session.post(f"{site.url}/fleet/compare", data=form, files=files, timeout=30)


def outcome(site: Site) -> requests.Response:
    return requests.get(f"{site.url}/fleet/compare.json", timeout=10)


def test_the_operator_compares_without_javascript_and_gets_the_answer(site: Site, plain: Page) -> None:
    sign_in(plain, site)
    pictures = [
        {"name": f"test_0_{number}.jpg", "mimeType": "image/jpeg", "buffer": jpeg((number, 9, 9), size=(640, 480))}
        for number in range(2)
    ]
    plain.set_input_files("[name=inputFile]", pictures)  # type: ignore[arg-type]
    plain.fill("[name=rounds]", "2")
    plain.get_by_role("button", name="Compare").click()
    expect(plain.locator("h2")).to_have_text(
        re.compile("^Pool.* takes .* no other venue was measured. At 1,000 images")
    )
    expect(plain.locator(".times")).to_have_count(2)
    expect(plain.get_by_role("img", name="Dollars a month against images a day: pool $")).to_be_visible()
    expect(plain.locator("table >> nth=0").locator("tr")).to_have_count(3)
    expect(plain.locator("table >> nth=1").locator("tr")).to_have_count(9)
    with plain.expect_download() as download:
        plain.get_by_role("link", name="CSV").click()
    assert [row["labelled"] for row in csv.DictReader(io.StringIO(download.value.path().read_text()))] == ["4", "4"]
    assert [lane["failed"] for lane in outcome(site).json()["lanes"]] == [0, 0]


class Function:
    """A Lambda function that labels what is stored for it at once."""

    def __init__(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        self.forgotten: list[str] = []
        stored = site.cloud.inputs.put

        def put(key: str, body: bytes, content_type: str) -> None:
            stored(key, body, content_type)
            if key.startswith("lambda/compare/"):
                result = Result(key, "done", (Label("cat", "", 0.9),), seconds={"infer": 0.01})
                site.cloud.outputs.put(key, result.to_json().encode(), "application/json")

        monkeypatch.setattr(site.cloud.inputs, "put", put)

    def exists(self) -> bool:
        return True

    def forget(self, key: str) -> bool:
        self.forgotten.append(key)
        return True


def test_the_function_is_a_lane_where_it_is_prepared(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    function = Function(site, monkeypatch)
    monkeypatch.setattr(site.server._services.comparisons, "function", function)
    assert start(site, operator(site)).ok
    until(lambda: outcome(site).ok and not site.server._services.comparisons.state.running)
    lanes = outcome(site).json()["lanes"]
    assert {(one["venue"], one["failed"]) for one in lanes} == {("pool", 0), ("lambda", 0)}
    assert function.forgotten
    for bucket in (site.cloud.inputs, site.cloud.outputs):
        assert list(bucket.list("lambda/compare/")) == []


def test_the_browser_is_a_lane_where_its_network_is_prepared(plain: Page, tmp_path: Path) -> None:
    with running_site(
        operator_secret=SECRET, cache_dir=device_fixtures.prepare(tmp_path / "cache"), chromium=CHROMIUM
    ) as prepared:
        assert start(prepared, operator(prepared), jpeg(device_fixtures.COLOURS["blue"])).ok
        until(lambda: outcome(prepared).ok and not prepared.server._services.comparisons.state.running)
        lanes = {(one["venue"], one["size"]): one for one in outcome(prepared).json()["lanes"]}
        plain.goto(f"{prepared.url}/compare")
        expect(plain.get_by_text("Nothing of a photo leaves it.")).to_be_visible()
        expect(plain.get_by_text("browser", exact=True).first).to_be_visible()
    assert sorted(lanes) == [("browser", "as it is"), ("pool", "as it is"), ("pool", "resized")]
    lane = lanes["browser", "as it is"]
    assert (lane["failed"], lane["labelled"], lane["sent_bytes"]) == (0, 1, 0)


def test_one_runs_at_a_time_and_it_can_be_stopped(site: Site) -> None:
    session = operator(site)
    site.worker.pause()
    assert start(site, session).url == f"{site.url}/fleet/compare"  # the examples
    second = start(site, session)
    assert (second.status_code, "A comparison is under way" in second.text) == (409, True)
    assert NOTHING in outcome(site).text
    token = re.search(r'name="token" value="([^"]+)"', second.text)
    assert token
    stopped = session.post(f"{site.url}/fleet/compare/stop", data={"token": token[1]}, timeout=10)
    assert "Stop" in stopped.text
    site.worker.go.set()
    until(lambda: outcome(site).ok)
    assert "It was stopped before its end." in session.get(f"{site.url}/compare", timeout=10).text


def test_who_is_not_the_operator_starts_nothing(site: Site) -> None:
    stranger = requests.Session()
    assert start(site, stranger, jpeg()).status_code == 403
    assert "Sign in to compare" in stranger.get(f"{site.url}/compare", timeout=10).text
    assert start(site, operator(site), jpeg(), token="another").status_code == 403
    assert (outcome(site).status_code, NOTHING in outcome(site).text) == (404, True)


@pytest.mark.parametrize(
    ("photos", "fields", "words"),
    [
        ([b"no picture"], {}, "0.jpg: "),
        ([jpeg()] * 31, {}, "31 photos; at most 30"),
        ([jpeg()], {"rounds": "4"}, "rounds: expected a whole number from 1 to 3"),
        ([jpeg()], {"images_a_day": "x"}, "images_a_day: expected"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    site: Site, photos: list[bytes], fields: dict[str, str], words: str
) -> None:
    reply = start(site, operator(site), *photos, **fields)
    assert (reply.status_code, words in reply.text) == (400, True)
    assert not outcome(site).ok
