"""A photo that is opened large: by pointer, finger and keyboard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests import web_fixtures
from tests.web_fixtures import Site, jpeg, running_site
from tests.web_screenshots import DESKTOP, PHONE

expect.set_options(timeout=20_000)


@pytest.fixture
def site() -> Iterator[Site]:
    with running_site() as running:
        yield running


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    """The page of a finished batch: two people in a street, one failure, two others."""
    context = browser.new_context(viewport=DESKTOP)
    opened = context.new_page()
    names = ("street.jpg", "fail.jpg", "test_0.JPG", "z.jpg")
    files = [("inputFile", (name, jpeg(size=(640, 480)), "image/jpeg")) for name in names]
    opened.goto(site.url + requests.post(site.url, files=files, timeout=20).headers["Content-Location"])
    yield opened
    context.close()


def test_a_photo_opens_large_with_its_boxes_and_escape_leads_back(page: Page) -> None:
    page.get_by_role("link", name="Show street.jpg large").click()
    viewer = page.get_by_role("dialog", name="person ×2")
    expect(viewer.get_by_role("img", name="person ×2")).to_be_visible()
    expect(viewer.locator(".mark")).to_have_text(["person 90 %", "person 90 %"])
    picture, mark = viewer.locator("img").bounding_box(), viewer.locator(".mark").first.bounding_box()
    assert picture
    assert mark
    assert picture["width"] > 640
    words = viewer.locator(".mark span").first.bounding_box()
    assert words
    assert words["y"] >= mark["y"] - 1  # above it, the words of a box at the edge of the screen would not be seen
    right, last = viewer.locator(".mark").last.bounding_box(), viewer.locator(".mark span").last.bounding_box()
    assert right
    assert last
    assert last["x"] + last["width"] == pytest.approx(right["x"] + right["width"], abs=1)  # not off the edge of a phone
    # The first person reaches from an eighth of the width to three eighths.
    assert (mark["x"] - picture["x"]) / picture["width"] == pytest.approx(1 / 8, abs=0.01)
    assert mark["width"] / picture["width"] == pytest.approx(1 / 4, abs=0.01)
    for key, label, place in (
        ("ArrowLeft", "person ×2", "1 of 4"),
        ("ArrowRight", "the picture is cut off", "2 of 4"),
        ("ArrowRight", "hair spray", "3 of 4"),
    ):
        page.keyboard.press(key)
        expect(page.locator("#viewer-label")).to_have_text(label)
        expect(page.locator(".position")).to_have_text(place)
    expect(page.locator(".mark")).to_have_count(0)
    page.keyboard.press("Escape")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.get_by_role("link", name="Show test_0.JPG large")).to_be_focused()


def test_words_on_a_phone_do_not_lie_over_each_other(
    site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = [(8 + step, 4 + step, 24 + step, 44) for step in range(3)]
    people = [(box, (box[0] / 64, box[1] / 48, box[2] / 64, box[3] / 48)) for box in near]
    monkeypatch.setattr(web_fixtures, "_PEOPLE", people)
    files = [("inputFile", ("street.jpg", jpeg(size=(640, 480)), "image/jpeg"))]
    address = site.url + requests.post(site.url, files=files, timeout=20).headers["Content-Location"]
    page = browser.new_context(viewport=PHONE).new_page()
    page.goto(address)
    page.get_by_role("link", name="Show street.jpg large").click()
    expect(page.locator("#viewer img")).to_be_visible()
    for zoomed in (False, True):
        if zoomed:
            page.keyboard.press("+")
        tags = [one.bounding_box() for one in page.locator(".mark span").all()]
        assert len(tags) == 3
        for first, second in pairwise(sorted((tag["y"], tag["height"]) for tag in tags if tag)):
            assert second[0] >= sum(first) - 0.5
    line = page.locator("#viewer .line")
    line.locator("#viewer-label").evaluate("(label) => { label.textContent = 'a reason that is long '.repeat(9); }")
    assert line.evaluate("(line) => line.scrollHeight <= line.clientHeight"), "a reason is cut"
    page.goto(site.url)
    for width in (PHONE["width"], 820):
        page.set_viewport_size({"width": width, "height": 1180})
        rows = Counter(place["y"] for one in page.locator(".example").all() if (place := one.bounding_box()))
        assert list(rows.values()) == [4, 4], "an example stands alone in its row"
    page.context.close()


def test_fingers_go_on_and_enlarge(page: Page) -> None:
    page.get_by_role("link", name="Show street.jpg large").click()
    image = page.locator("#viewer img")
    expect(image).to_be_visible()
    small = image.bounding_box()
    assert small
    x, y = small["x"] + small["width"] / 2, small["y"] + small["height"] / 2

    def drag(to: float) -> None:
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(to, y, steps=3)
        page.mouse.up()

    pinch(page, x, y, 50, 100)
    large = image.bounding_box()
    assert large
    assert large["width"] == pytest.approx(2 * small["width"], rel=0.05)
    drag(x - 100)  # what is enlarged is moved
    moved = image.bounding_box()
    assert moved
    assert moved["x"] == pytest.approx(large["x"] - 100, abs=2)
    expect(page.locator(".position")).to_have_text("1 of 4")
    page.keyboard.press("0")
    drag(x - 100)
    expect(page.locator(".position")).to_have_text("2 of 4")
    drag(x + 100)
    expect(page.locator(".position")).to_have_text("1 of 4")
    page.get_by_role("button", name="Close").click()
    expect(page.get_by_role("link", name="Show street.jpg large")).to_be_focused()


def pinch(page: Page, x: float, y: float, before: float, after: float) -> None:
    """Two fingers, at first `before` pixels left and right of a point, then `after`."""
    touch = page.context.new_cdp_session(page)
    points = [[{"x": x - far, "y": y, "id": 0}, {"x": x + far, "y": y, "id": 1}] for far in (before, after)]
    for kind, fingers in (("touchStart", points[0]), ("touchMove", points[1]), ("touchEnd", [])):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})


def test_a_photo_that_is_not_sent_yet_opens_as_well(page: Page, site: Site) -> None:
    page.goto(site.url)
    page.set_input_files("#files", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": jpeg()})
    page.get_by_role("link", name="Show a.jpg large").click()
    expect(page.get_by_role("img", name="a.jpg")).to_be_visible()


def test_without_script_the_picture_opens_by_itself(browser: Browser, page: Page) -> None:
    plain = browser.new_page(java_script_enabled=False)
    plain.goto(page.url)
    plain.get_by_role("link", name="Show street.jpg large").click()
    expect(plain.locator("img")).to_be_visible()
    assert plain.locator("img").evaluate("one => one.naturalWidth") == 640
    plain.context.close()
