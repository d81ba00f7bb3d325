"""axe-core finds nothing serious on any page, in light and dark, on a desktop and on a phone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, FilePayload, Page, expect

from shoal.clock import SystemClock
from shoal.messages import Job
from tests import device_fixtures, run_fixtures
from tests.fleet_fixtures import write_ledger
from tests.small_cut import MODEL, TAIL
from tests.web_fixtures import Site, jpeg, running_site
from tests.web_screenshots import DESKTOP, files

ROOT = Path(__file__).parent.parent
SECRET = "sixteen or more letters"
SERIOUS = {"serious", "critical"}
expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def axe() -> str:
    """The program, as the Makefile fetches it."""
    subprocess.run(["make", "build/axe.js"], cwd=ROOT, check=True)
    return (ROOT / "build" / "axe.js").read_text()


@pytest.fixture(params=["light", "dark phone"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    phone: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
    dark = request.param != "light"
    context = browser.new_context(**({"color_scheme": "dark", **phone} if dark else {"viewport": DESKTOP}))
    yield context.new_page()
    context.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    write_ledger(tmp_path, SystemClock().now())
    with running_site(work=False, state_dir=tmp_path, operator_secret=SECRET, models="ssd_mobilenet_v2") as running:
        yield running


def is_fine(page: Page, axe: str) -> None:
    page.evaluate(axe)
    found = page.evaluate("() => axe.run(document, { resultTypes: ['violations'] })")
    assert found["passes"], "axe looked at nothing"
    bad = [one for one in found["violations"] if one["impact"] in SERIOUS]
    told = [(one["id"], [(node["html"][:150], node["failureSummary"]) for node in one["nodes"][:3]]) for one in bad]
    assert not told, page.url


def test_upload_running_and_finished_batch(site: Site, page: Page, axe: str) -> None:
    page.goto(site.url)
    is_fine(page, axe)
    page.set_input_files("#files", files(6, bad=2))
    expect(page.locator("#expected")).to_contain_text("about")
    is_fine(page, axe)
    page.click("#go")
    expect(page.locator("#status")).to_have_text("Waiting for a worker: none is running yet")
    is_fine(page, axe)
    while site.worker.step():
        pass
    expect(page.locator("#status")).to_contain_text("Done")
    page.locator(".photo.done summary").first.click()
    page.get_by_label("Wrong label? It is:").first.fill("my cat")
    page.get_by_role("button", name="Correct").first.click()
    expect(page.locator(".corrected")).to_have_text("Corrected: my_cat")
    is_fine(page, axe)
    page.locator(".open[href]").first.click()
    expect(page.locator("#viewer img")).to_be_visible()
    is_fine(page, axe)
    page.keyboard.press("Escape")
    page.goto(site.url)
    expect(page.locator("#mine")).to_be_visible()
    is_fine(page, axe)
    page.get_by_role("link", name="On this device").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("On this device")
    is_fine(page, axe)


def test_photos_whose_activation_left_the_device(tmp_path: Path, page: Page, axe: str) -> None:
    cache = device_fixtures.prepare(tmp_path / "cache")
    device_fixtures.add_head(cache)
    with running_site(cache_dir=cache, model=MODEL, venues="split", tails=TAIL) as site:
        page.goto(f"{site.url}/device")
        is_fine(page, axe)
        page.get_by_role("radio", name="Split").check()
        page.set_input_files("#files", files(3, bad=2))
        expect(page.locator("#status")).to_contain_text("Done")
        expect(page.locator("#resized")).to_contain_text("about")
        is_fine(page, axe)


def test_a_failed_batch_a_batch_with_warnings_the_page_of_a_problem_and_the_page_of_reconstructions(
    site: Site, page: Page, axe: str
) -> None:
    names = ("fail.jpg", "street.jpg", "empty.jpg", "test_0.JPG")
    address = requests.post(f"{site.url}/batches", timeout=10).json()["url"]
    forms = [("inputFile", (name, jpeg(), "image/jpeg")) for name in names]
    requests.post(f"{site.url}{address}/photos", files=forms, timeout=10)
    while site.worker.step():
        pass
    page.goto(site.url + address)
    expect(page.locator(".photo.failed")).to_have_count(1)
    for summary in reversed(page.locator("summary:visible").all()):  # what opens lies over the cards below
        summary.click()
    is_fine(page, axe)
    page.goto(f"{site.url}/batches/nonsense")
    is_fine(page, axe)
    page.goto(f"{site.url}/privacy")
    is_fine(page, axe)


def test_the_bulk_runs_and_one_of_them(page: Page, axe: str) -> None:
    with running_site(work=False, run_sources=run_fixtures.SOURCES, run_targets=run_fixtures.TARGETS) as site:
        run_fixtures.store_photos(site.cloud, 60, bad=25)  # so many that their list scrolls
        page.goto(site.url)
        page.get_by_role("link", name="Runs").click()
        expect(page.get_by_role("button", name="Begin")).to_be_visible()
        is_fine(page, axe)
        page.get_by_label("Results go to").fill("s3://labels/run-1/")
        page.get_by_role("button", name="What will it take?").click()
        expect(page.locator(".expected")).to_contain_text("60 photos, ")
        expect(page.get_by_label("Results go to")).to_have_value("s3://labels/run-1/")
        page.get_by_role("button", name="Begin").click()
        expect(page.get_by_role("button", name="Pause")).to_be_visible()
        run_fixtures.work(site.cloud, 2)
        expect(page.locator("#newest li")).to_have_count(12)  # the page looks by itself
        is_fine(page, axe)
        page.get_by_text("Cancel…").click()
        run_fixtures.work(site.cloud)
        expect(page.locator("#state")).to_contain_text("60 of 60 photos, 25 failed")
        expect(page.get_by_role("button", name="Yes, cancel")).to_be_visible()  # the question stays
        page.get_by_text("Cancel…").click()
        page.get_by_text("Cancel…").blur()
        expect(page.get_by_role("button", name="Label what failed again")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        is_fine(page, axe)
        page.get_by_role("button", name="Label what failed again").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("What failed of a run")
        is_fine(page, axe)
        page.get_by_role("link", name="All runs").click()
        expect(page.locator(".runs li")).to_have_count(2)
        is_fine(page, axe)


def test_signing_in_sharing_and_the_list_of_batches(page: Page, axe: str) -> None:
    provider: dict[str, Any] = {
        "oidc_issuer": "https://login.example.org",
        "oidc_client_id": "shoal",
        "oidc_users": "@example.org",
    }
    with running_site(sign_in="on", operator_secret=SECRET, **provider) as site:
        page.goto(f"{site.url}/fleet")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        expect(page.get_by_role("link", name="Sign in with login.example.org")).to_be_visible()
        for password in ("wrong", SECRET):
            is_fine(page, axe)
            page.fill("#name", "operator")
            page.fill("#password", password)
            page.get_by_role("button", name="Sign in").click()
        expect(page).to_have_url(f"{site.url}/fleet")
        page.goto(site.url)
        is_fine(page, axe)
        page.set_input_files("#files", files(3))
        page.click("#go")
        expect(page.locator("#status")).to_contain_text("Done")
        page.get_by_role("button", name="Share").click()
        expect(page.locator("#link")).to_have_value(re.compile(r".*/batches/\w{20}\?share=[\w-]{22}"))
        is_fine(page, axe)
        page.get_by_role("link", name="Your batches").click()
        expect(page.locator(".own li")).to_contain_text(["3 photos"])
        is_fine(page, axe)
        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{site.url}/sign-in")


def test_the_fleet_and_its_operator(site: Site, page: Page, axe: str) -> None:
    site.cloud.dead_letters.send(["a message that no worker could finish", Job("1" * 20, 0, "a.jpg", "r").to_json()])
    page.goto(f"{site.url}/fleet")
    is_fine(page, axe)
    page.click("text=Sign in to act")
    page.fill("#secret", "wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("[role=alert]")).to_be_visible()
    is_fine(page, axe)
    page.fill("#secret", SECRET)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="Look at them").click()
    page.get_by_text("The message").first.click()
    page.get_by_text("Delete…").first.click()
    is_fine(page, axe)
    page.get_by_role("button", name="Send again").click()
    expect(page.locator(".told")).to_be_visible()
    is_fine(page, axe)
    page.goto(f"{site.url}/compare")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    is_fine(page, axe)
    site.worker.start()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("link", name="CSV")).to_be_visible()
    is_fine(page, axe)


def test_the_page_of_the_api(site: Site, page: Page, axe: str) -> None:
    page.goto(f"{site.url}/api")
    site.worker.start()
    photo: FilePayload = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg()}
    tried = {
        "/v1/batches": ('"queued"', photo),
        "/v1/label": ('"total_seconds"', photo),
        "/v1/uploads": ("409 ", None),  # the cloud in memory has no forms
        "/v1/batches/{batch}/photos/confirm": ('"missing"', None),
    }
    for path, (words, file) in tried.items():
        part = page.locator("details", has=page.locator(f'form[data-path="{path}"][data-method="POST"]'))
        part.locator("summary").click()
        if file:
            part.locator("input[type=file]").set_input_files([file])
        if "{batch}" in path:
            part.locator("input[name=batch]").fill("1m7yv8wnwyewm4djehxe")
        part.get_by_role("button", name="Try it").click()
        expect(part.locator("output")).to_contain_text(words)
    assert "`" not in page.locator(".api").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    is_fine(page, axe)


def test_axe_would_tell(page: Page, axe: str) -> None:
    page.set_content("<html lang=en><title>x</title><main><h1>x</h1><img src='x'><input></main>")
    with pytest.raises(AssertionError, match="image-alt"):
        is_fine(page, axe)
