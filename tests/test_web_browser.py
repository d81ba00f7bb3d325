"""The page in a real browser: phone and desktop, light and dark, with and without JavaScript."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect

from shoal.clock import SystemClock
from shoal.memory import memory_cloud
from shoal.messages import batch_floor
from tests.cases_fixtures import LEFTOVERS
from tests.waiting import until
from tests.web_fixtures import LimitedStore, Site, jpeg, running_site
from tests.web_screenshots import DESKTOP
from web_tier.app import STATIC
from web_tier.examples import find_examples

expect.set_options(timeout=20_000)

PHONE: ViewportSize = {"width": 360, "height": 740}


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def idle() -> Iterator[Site]:
    with running_site(work=False) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    yield from _page(browser, viewport=DESKTOP, permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    yield from _page(browser, viewport=PHONE, is_mobile=True, has_touch=True, color_scheme="dark")


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A browser without JavaScript."""
    yield from _page(browser, viewport=DESKTOP, java_script_enabled=False)


def _page(browser: Browser, **options: Any) -> Iterator[Page]:
    context = browser.new_context(**options)
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if "Security Policy" in message.text else None)
    yield page
    context.close()
    assert problems == []


def photos(*names: str) -> list[Any]:
    return [{"name": name, "mimeType": "image/jpeg", "buffer": jpeg()} for name in names]


def label(page: Page, site: Site, *names: str) -> None:
    page.goto(site.url)
    page.set_input_files("#files", photos(*names))
    page.click("#go")


def answered_first(page: Page) -> None:
    """The first card has the label on its first line, in words for people, and the file's name on its second."""
    expect(page.locator(".photo >> nth=0 >> .about > p:visible")).to_have_text(["hair spray", "test_0.JPG"])


def no_sideways_scrolling(page: Page) -> None:
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_choosing_shows_number_and_size_and_uploading_shows_labels(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.set_input_files("#files", photos("test_0.JPG", "b.jpg"))
    expect(page.locator("#chosen")).to_have_text(re.compile(r"^2 photos, \d+ (KB|bytes)$"))
    page.click("#clear")
    expect(page.locator(".photo")).to_have_count(0)
    page.set_input_files("#files", photos("test_0.JPG", "b.jpg"))
    page.click("#go")
    expect(page.locator("#status")).to_have_text(re.compile("^Done: 2 photos in "))
    answered_first(page)
    assert "/batches/" in page.url
    page.click(".photo >> nth=0 >> summary")
    expect(page.locator(".photo >> nth=0 >> .others li")).to_have_count(4)
    expect(page.locator("#said")).to_have_text(re.compile("^Done"))


def test_a_reload_shows_the_same(page: Page, site: Site) -> None:
    label(page, site, "test_0.JPG", "fail.jpg")
    expect(page.locator("#status")).to_have_text(re.compile("2 photos .*, 1 of them failed"))
    page.reload()
    expect(page.locator("#status")).to_have_text(re.compile("2 photos .*, 1 of them failed"))
    answered_first(page)
    expect(page.locator(".photo.failed .state")).to_have_text("the picture is cut off")
    site.worker.fail_names = False
    page.click("text=Try failed photos again")
    expect(page.locator("#status")).to_have_text(re.compile("^Done: 2 photos in [^,]*$"))


def test_a_model_that_stands_in_is_never_passed_off_as_the_one_asked_for(page: Page, plain: Page) -> None:
    with running_site(model="another_model") as site:  # the fake worker labels with resnet50
        label(page, site, "test_0.JPG")
        notice = "Labelled by resnet50, which stands in for another_model"
        expect(page.locator("#stand-in")).to_contain_text(notice)
        plain.goto(page.url)
        expect(plain.locator("#stand-in")).to_contain_text(notice)
    with running_site() as site:
        label(page, site, "test_0.JPG")
        expect(page.locator("#status")).to_have_text(re.compile("^Done"))
        expect(page.locator("#stand-in")).to_be_hidden()


def test_copy_as_text_gives_a_line_a_photo(page: Page, site: Site) -> None:
    label(page, site, "test_0.JPG", "fail.jpg")
    expect(page.locator("#status")).to_have_text(re.compile("^Done"))
    page.click("#copy")
    expect(page.locator("#copy")).to_have_text("Copied")
    words = page.evaluate("() => navigator.clipboard.readText()")
    assert words == "test_0.JPG, hair_spray\nfail.jpg, failed: the picture is cut off\n"


def test_the_line_says_what_goes_on(page: Page, idle: Site) -> None:
    label(page, idle, "test_0.JPG", "b.jpg")
    expect(page.locator("#status")).to_have_text("Waiting for a worker: none is running yet")
    idle.cloud.pool.launch(["a", "b", "c"], "t")
    expect(page.locator("#status")).to_have_text("Labelling: 0 of 2, 3 workers")
    idle.worker.step(1)
    expect(page.locator("#status")).to_have_text("Labelling: 1 of 2, 3 workers")
    page.reload()
    expect(page.locator("#status")).to_have_text("Labelling: 1 of 2, 3 workers")
    idle.worker.step(1)
    expect(page.locator("#status")).to_have_text(re.compile("^Done: 2 photos"))


def test_the_tab_counts_and_a_finished_batch_speaks_of_no_workers(page: Page, idle: Site) -> None:
    idle.cloud.pool.launch(["a"], "t")
    label(page, idle, "test_0.JPG", "b.jpg")
    expect(page.locator("#status")).to_have_text("Labelling: 0 of 2, 1 worker")
    expect(page).to_have_title("0 of 2 · Shoal")
    idle.worker.step(1)
    expect(page).to_have_title("1 of 2 · Shoal")
    page.reload()
    expect(page).to_have_title("1 of 2 · Shoal")
    expect(page.locator(".facts dt:visible")).to_have_text(["Labelled", "Failed", "Waiting", "Workers"])
    idle.worker.step(1)
    expect(page).to_have_title(re.compile("^Done: 2 photos .* · Shoal$"))
    expect(page.locator(".facts dt:visible")).to_have_text(["Labelled", "Failed"])
    page.reload()
    expect(page.locator(".facts dt:visible")).to_have_text(["Labelled", "Failed"])


def test_a_batch_is_cancelled(page: Page, plain: Page, idle: Site) -> None:
    for used in (page, plain):
        address = idle.url + requests.post(f"{idle.url}/batches", timeout=20).json()["url"]
        files = [("inputFile", (f"{number}.jpg", jpeg())) for number in range(3)]
        requests.post(f"{address}/photos", files=files, timeout=20)
        idle.worker.step(1)
        used.goto(address)
        used.get_by_role("button", name="Cancel").click()
        expect(used.locator("#status")).to_have_text("Cancelled: 2 photos. Labelled: 1")
        expect(used.locator(".photo.cancelled .state")).to_have_text(["Cancelled", "Cancelled"])
        expect(used.locator(".facts dd:visible")).to_have_text(["1", "0", "2"])
        expect(used.get_by_role("button", name="Cancel")).to_be_hidden()
        expect(used.get_by_role("button", name="Try failed photos again")).to_be_hidden()
        idle.worker.step()
        used.reload()
        expect(used.locator(".photo.cancelled")).to_have_count(2)


def test_what_is_not_sent_yet_is_cancelled_too(page: Page, idle: Site) -> None:
    page.goto(idle.url)
    damaged = {"name": "damaged.jpg", "mimeType": "image/jpeg", "buffer": b"no photo"}
    page.set_input_files("#files", [damaged, *photos(*(f"{number}.jpg" for number in range(1, 60)))])
    held: list[Route] = []
    holding = [True]

    def pass_on(route: Route) -> None:
        if holding and "first=0" not in route.request.url:
            held.append(route)
        else:
            route.continue_()

    page.route("**/photos?*", pass_on)
    page.click("#go")
    expect(page.locator(".photo.uploading")).to_have_count(24)
    expect(page.locator("#status")).to_have_text("Uploading: 8 of 60, 1 failed")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".photo.cancelled")).to_have_count(35)
    holding.clear()
    for route in held:
        route.continue_()
    expect(page.locator("#status")).to_have_text("Cancelled: 59 photos. Labelled: 0, 1 failed")
    expect(page.locator(".photo.cancelled")).to_have_count(59)


def test_a_long_name_is_cut_in_its_middle(page: Page, phone: Page, site: Site) -> None:
    name = "a_very_long_name_that_fits_on_no_card_of_any_page_at_all_IMG_0042.jpg"
    for used in (page, phone):
        label(used, site, name)
        expect(used.locator(".photo .label")).not_to_be_empty()
        expect(used.locator(".photo .name")).to_have_text(name)
        head, tail = used.locator(".photo .head"), used.locator(".photo .tail")
        expect(tail).to_have_text("IMG_0042.jpg")
        assert head.evaluate("one => one.scrollWidth > one.clientWidth")
        assert tail.evaluate("one => one.scrollWidth <= one.clientWidth")
        no_sideways_scrolling(used)


def test_an_opened_card_leaves_no_hole_beside_it(page: Page, site: Site) -> None:
    label(page, site, *(f"{number}.jpg" for number in range(9)))
    expect(page.locator("#status")).to_have_text(re.compile("^Done"))
    cards = page.locator(".photo")
    cards.nth(1).locator("summary").click()
    expect(cards.nth(1).locator(".stages")).to_be_visible()
    boxes = [box for card in cards.all() if (box := card.bounding_box())]
    columns = {round(box["x"]): [one for one in boxes if round(one["x"]) == round(box["x"])] for box in boxes}
    assert len(columns) == 3
    for column in columns.values():
        for above, below in pairwise(column):
            assert below["y"] - above["y"] - above["height"] == pytest.approx(12, abs=1)


def test_this_browser_knows_its_batches_and_no_others(page: Page, browser: Browser, site: Site) -> None:
    page.goto(site.url)
    expect(page.locator("#mine")).to_be_hidden()
    label(page, site, "test_0.JPG", "fail.jpg")
    expect(page.locator("#status")).to_have_text(re.compile("^Done"))
    address = page.url
    page.goto(site.url)
    expect(page.locator("#mine a")).to_have_text(re.compile("^Done: 2 photos in .*, 1 of them failed$"))
    page.click("#mine a")
    expect(page).to_have_url(address)
    other = browser.new_page()
    other.goto(site.url)
    expect(other.locator("#mine")).to_be_hidden()
    old = batch_floor(1_700_000_000) + 11 * "0"
    other.evaluate("id => localStorage.setItem('shoal-batches', JSON.stringify([{id, line: 'Done'}]))", old)
    other.reload()
    expect(other.locator("#mine time")).to_have_attribute("datetime", "2023-11-14T22:13:20.000Z")  # its own, not today
    other.context.close()
    page.goto(site.url)
    page.click("text=Forget it")
    expect(page.locator("#mine")).to_be_hidden()
    page.reload()
    expect(page.locator("#mine")).to_be_hidden()


def test_names_are_text_and_never_markup(page: Page, site: Site) -> None:
    name = "<img src=x onerror=alert(1)>.jpg"
    label(page, site, name)
    expect(page.locator("#status")).to_have_text(re.compile("^Done"))
    expect(page.locator(".photo .name")).to_have_text(name)
    page.reload()
    expect(page.locator(".photo .name")).to_have_text(name)
    expect(page.locator(".photo img")).to_have_count(1)


def test_files_can_be_dropped_and_pasted(page: Page, site: Site) -> None:
    page.goto(site.url)
    for kind, carrier in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([kind, carrier]) => {
                const data = new DataTransfer();
                data.items.add(new File(["x"], `${kind}.jpg`, { type: "image/jpeg" }));
                const event = new Event(kind, { bubbles: true, cancelable: true });
                Object.defineProperty(event, carrier, { value: data });
                document.body.dispatchEvent(event);
            }""",
            [kind, carrier],
        )
    expect(page.locator(".photo .name")).to_have_text(["drop.jpg", "paste.jpg"])


def test_the_example_photos_can_be_added(page: Page, site: Site, tmp_path: Path) -> None:
    page.goto(site.url)
    offered = page.locator(".example")
    for number in range(min(2, offered.count())):
        offered.nth(number).click()
        expect(page.locator(".photo")).to_have_count(number + 1)


def test_a_file_that_is_too_large_is_told_before_it_is_sent(page: Page) -> None:
    with running_site(max_file_bytes=2_000) as site:
        page.goto(site.url)
        large = {"name": "b.jpg", "mimeType": "image/jpeg", "buffer": b"x" * 9_000}
        page.set_input_files("#files", [*photos("test_0.JPG"), large])
        expect(page.locator(".photo.failed .state")).to_have_text("the file has 9 KB; at most 2 KB are taken")
        page.click("#go")
        expect(page.locator("#status")).to_have_text(re.compile("^Done: 2 photos .*1 of them failed"))


def test_pages_are_light_and_nothing_moves_while_they_load(page: Page, site: Site) -> None:
    page.add_init_script(
        """new PerformanceObserver((list) => {
            for (const one of list.getEntries()) window.moved = (window.moved ?? 0) + one.value;
        }).observe({ type: "layout-shift", buffered: true });"""
    )
    files = [("inputFile", (f"{number}.jpg", jpeg())) for number in range(12)]
    batch = requests.post(site.url, files=files, timeout=20).headers["Content-Location"]
    for path in ("/", batch, "/fleet", "/api"):
        page.goto(site.url + path, wait_until="networkidle")
        weight, moved = page.evaluate(
            """() => [
                [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
                    .reduce((sum, one) => sum + one.transferSize, 0),
                window.moved ?? 0]"""
        )
        print(f"{path[:8]} weighs {weight / 1000:.1f} KB, layout shift {moved:.4f}")
        assert 1_000 < weight < 100_000
        assert moved < 0.01  # less cannot be seen


def test_every_example_has_its_small_picture() -> None:
    folder = STATIC / "examples"
    found = find_examples(folder)
    assert found
    assert all((folder / one.small).stat().st_size < 5_000 for one in found)


def test_everything_can_be_done_with_the_keyboard(page: Page, site: Site) -> None:
    page.goto(site.url)
    focused = []
    for _ in range(5):
        page.keyboard.press("Tab")
        focused.append(
            page.evaluate("() => ((one) => one.id || one.className || one.textContent)(document.activeElement)")
        )
    assert focused == ["skip", "brand", "Fleet", "files", "folder"]
    page.set_input_files("#files", photos("test_0.JPG"))
    page.focus("#go")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_have_text(re.compile("^Done"))
    page.focus(".photo summary")
    page.keyboard.press("Enter")
    expect(page.locator(".photo .others")).to_be_visible()


def test_a_phone_in_the_dark_sees_all_and_scrolls_down_only(phone: Page, site: Site) -> None:
    phone.goto(site.url)
    no_sideways_scrolling(phone)
    assert phone.evaluate("() => getComputedStyle(document.documentElement).backgroundColor") == "rgb(11, 19, 23)"
    phone.set_input_files("#files", photos("test_0.JPG", "w" * 120 + ".jpg", "fail " + "long " * 30 + ".jpg"))
    no_sideways_scrolling(phone)
    phone.tap("#go")
    expect(phone.locator("#status")).to_have_text(re.compile("^Done"))
    no_sideways_scrolling(phone)
    phone.goto(site.url + "/batches/nonsense")
    no_sideways_scrolling(phone)


def test_without_script_the_form_works_and_the_page_fills_by_itself(plain: Page, idle: Site) -> None:
    plain.goto(idle.url)
    expect(plain.get_by_role("link", name="On this device")).to_have_count(0)  # that page needs JavaScript
    plain.click("text=Upload and label")
    expect(plain.locator("[role=alert]")).to_have_text("No photo was chosen. Choose one or more photos first.")
    plain.set_input_files("#files", photos("test_0.JPG", "b.jpg"))
    plain.click("text=Upload and label")
    expect(plain.locator(".photo.queued")).to_have_count(2)
    expect(plain.locator("#copy")).to_be_hidden()
    while idle.worker.step():
        pass
    expect(plain.locator("#status")).to_have_text(re.compile("^Done: 2 photos"), timeout=15_000)
    answered_first(plain)


def test_a_page_without_a_server_says_so_and_goes_on_by_itself(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.set_input_files("#files", photos("test_0.JPG"))
    page.context.set_offline(True)
    page.click("#go")
    expect(page.locator("#status")).to_have_text("Connection lost, trying again")
    page.context.set_offline(False)
    expect(page.locator("#status")).to_have_text(re.compile("^Done: 1 photo"), timeout=15_000)


def test_a_page_says_that_the_storage_is_full_and_goes_on_by_itself(page: Page) -> None:
    inputs = LimitedStore()
    inputs.largest = 0
    with running_site(replace(memory_cloud(SystemClock()), inputs=inputs)) as site:
        label(page, site, "a.jpg", "b.jpg")
        full = "The storage is full. Not kept: a.jpg, b.jpg"
        expect(page.locator("#status")).to_have_text(f"{full}, trying again")
        expect(page.locator(".photo", has_text=full)).to_have_count(2)
        inputs.largest = 1_000_000
        expect(page.locator("#status")).to_have_text(re.compile("^Done: 2 photos"), timeout=20_000)
        expect(page.locator(".photo.done")).to_have_count(2)


def test_an_open_page_goes_on_after_a_restart(page: Page) -> None:
    cloud = memory_cloud(SystemClock())
    with running_site(cloud, work=False) as first:
        port = first.port
        label(page, first, *(f"{number}.jpg" for number in range(60)))
        expect(page.locator("#status")).to_have_text(re.compile("^Waiting"))
    expect(page.locator("#status")).to_have_text("Connection lost, trying again")
    with running_site(cloud, port=port):
        expect(page.locator("#status")).to_have_text(re.compile("^Done: 60 photos"), timeout=20_000)
        expect(page.locator(".photo.done")).to_have_count(60)


def test_an_opened_photo_stays_as_it_is_when_the_connection_comes_back(page: Page) -> None:
    cloud = memory_cloud(SystemClock())
    with running_site(cloud, work=False) as first:
        port = first.port
        label(page, first, "test_0.JPG", "b.jpg")
        expect(page.locator("#status")).to_have_text(re.compile("^Waiting"))
        first.worker.step(1)
        page.click(".photo.done summary")
        page.get_by_label("Wrong label? It is:").fill("half a wo")
    expect(page.locator("#status")).to_have_text("Connection lost, trying again")
    with running_site(cloud, port=port):
        expect(page.locator("#status")).to_have_text(re.compile("^Done: 2 photos"), timeout=20_000)
        expect(page.get_by_label("Wrong label? It is:")).to_have_value("half a wo")


def test_nothing_is_lost_when_the_web_process_is_killed_in_mid_upload(page: Page, tmp_path: Path) -> None:
    store = tmp_path / "cloud"
    process, url = _start(store, 0)
    try:
        page.goto(url)
        page.set_input_files("#files", photos(*(f"{number}.jpg" for number in range(120))))
        page.click("#go")
        until(lambda: len([one for one in (store / "inputs").rglob("*") if one.is_file()]) >= 16)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
        expect(page.locator("#status")).to_have_text("Connection lost, trying again")
        process, _ = _start(store, int(url.rpartition(":")[2]))
        expect(page.locator("#status")).to_have_text(re.compile("^(Waiting|Labelling)"), timeout=30_000)
        expect(page.locator(".photo.queued")).to_have_count(120)
        assert len([one for one in (store / "inputs").rglob("*") if one.is_file()]) == 120
    finally:
        process.kill()
        process.wait(10)


def _start(store: Path, port: int) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("web_process.py")), str(store), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    process.stdout.close()
    return process, url


def test_a_folder_is_sent_without_what_systems_leave_behind(page: Page, idle: Site, tmp_path: Path) -> None:
    folder = tmp_path / "card"
    for name in (*LEFTOVERS, "cat.jpg", "inside/dog.jpg", "notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(jpeg())
    page.goto(idle.url)
    with page.expect_file_chooser() as chooser:
        page.locator("#folder").click()
    chooser.value.set_files(folder)
    expect(page.locator(".photo .name")).to_have_count(2)
    assert sorted(page.locator(".photo .name").all_inner_texts()) == ["cat.jpg", "dog.jpg"]
    expect(page.locator("#left-out")).to_have_text("9 files in there are not photos and were left out.")
