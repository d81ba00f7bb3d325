"""What the page and the API show of detections and warnings, and how a model is chosen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import requests
from PIL import Image
from playwright.sync_api import Browser, FilePayload, Page, expect

from shoal.messages import Job, Result
from shoal.photo_record import record
from tests.inference_fixtures import encoded
from tests.waiting import until
from tests.web_fixtures import Site, jpeg, running_site

PEOPLE = [
    {
        "name": "person",
        "class_id": 1,
        "score": 0.9,
        "box": [8, 4, 24, 44],
        "relative_box": [0.125, 0.08333, 0.375, 0.91667],
    },
    {
        "name": "person",
        "class_id": 1,
        "score": 0.9,
        "box": [32, 4, 48, 44],
        "relative_box": [0.5, 0.08333, 0.75, 0.91667],
    },
]
BLURRED = "the photo is far too blurred"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_site(model="resnet50", models="ssd_mobilenet_v2") as found:
        yield found


@pytest.fixture(params=[True, False], ids=["script", "no script"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """The page as JavaScript makes it, and as the server draws it."""
    context = browser.new_context(java_script_enabled=request.param)
    yield context.new_page()
    context.close()


def send(site: Site, *names: str) -> str:
    """Upload photos, wait until they are answered; the batch's address."""
    files = [("inputFile", (name, jpeg(), "image/jpeg")) for name in names]
    return site.url + requests.post(site.url, files=files, timeout=20).headers["Content-Location"]


def test_a_picture_in_which_nothing_was_found_has_an_empty_list() -> None:
    """A program that goes through `detections` broke there."""
    job = Job("a" * 20, 0, "sky.jpg", "replies")
    assert record(job, Result(job.key, "done", model="ssd_mobilenet_v2"))["detections"] == []
    assert "detections" not in record(job, None)


def test_the_batch_as_json_has_detections_and_warnings(site: Site) -> None:
    address = send(site, "street.jpg", "test_0.JPG")

    street, plain = requests.get(f"{address}.json", timeout=20).json()["photos"]

    assert street["detections"] == PEOPLE
    assert street["warnings"] == [BLURRED]
    assert street["labels"] == []
    assert plain["labels"][0]["name"] == "hair_spray"
    assert (plain["warnings"], "detections" in plain) == ([], False)


def test_a_program_is_told_the_surest_thing_and_when_there_is_none(site: Site) -> None:
    files = [("inputFile", (name, jpeg(), "image/jpeg")) for name in ("street.jpg", "empty.jpg")]

    assert requests.post(site.url, files=files, timeout=20).text == "street:person\nempty:nothing_found\n"


def test_a_finished_page_shows_boxes_counts_and_warnings(site: Site, page: Page) -> None:
    page.goto(send(site, "street.jpg", "empty.jpg", "test_0.JPG"))

    street = page.locator(".photo >> nth=0")
    expect(street.locator(".label")).to_have_text("person ×2")
    expect(street.locator(".name")).to_have_text("street.jpg")
    expect(street.locator(".warning")).to_have_text(BLURRED)
    expect(street.locator(".boxes")).to_have_attribute("viewBox", "0 0 64 48")
    assert [one.get_attribute("x") for one in street.locator("rect").all()] == ["8", "32"]
    expect(street.locator(".percent")).to_have_text("90 %")
    expect(page.locator(".photo >> nth=1 >> .label")).to_have_text("nothing found")
    expect(page.locator(".photo >> nth=1 >> .name")).to_have_text("empty.jpg")
    expect(page.locator(".photo >> nth=1 >> .percent")).to_be_hidden()
    expect(page.locator(".boxes")).to_have_count(1)
    expect(page.locator("#stand-in")).to_be_hidden()


def test_an_uploading_page_shows_the_same_and_sends_the_chosen_model(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(site.url)
    page.select_option("#model", "ssd_mobilenet_v2")
    page.set_input_files("#files", FilePayload(name="street.jpg", mimeType="image/jpeg", buffer=jpeg()))
    page.click("#go")

    expect(page.locator("#status")).to_have_text(re.compile("^Done: 1 photo "))
    expect(page.locator(".photo .label")).to_have_text("person ×2")
    expect(page.locator(".photo .name")).to_have_text("street.jpg")
    expect(page.locator(".photo .boxes rect")).to_have_count(2)
    expect(page.locator(".photo .warning")).to_have_text(BLURRED)
    expect(page.locator("#stand-in")).to_be_hidden()
    (photo,) = requests.get(f"{page.url}.json", timeout=20).json()["photos"]
    assert photo["model"] == "ssd_mobilenet_v2"
    page.context.close()


def test_one_model_needs_no_choice(page: Page) -> None:
    with running_site() as alone:
        page.goto(alone.url)
        expect(page.locator("#model")).to_have_count(0)


def test_models_are_offered_by_what_they_do(page: Page) -> None:
    with running_site(models="ssd_mobilenet_v2,mini_xception,unheard_of") as site:
        page.goto(site.url)
        expect(page.locator("#model option")).to_have_text(
            [
                "What a photo shows (resnet50)",
                "Objects with boxes (ssd_mobilenet_v2)",
                "Faces and their emotions (mini_xception)",
                "unheard_of",
            ]
        )


def test_thumbnails_show_what_the_server_shows(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    clear = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
    unused = Image.new("RGBA", (200, 200), (250, 20, 20, 0))  # a BMP's fourth bytes, which mean nothing here
    page.goto(site.url)
    files: list[FilePayload] = [
        {"name": "clear.png", "mimeType": "image/png", "buffer": encoded(clear, "PNG")},
        {"name": "unused.bmp", "mimeType": "image/bmp", "buffer": encoded(unused, "BMP")},
    ]
    page.set_input_files("#files", files)
    page.click("#go")
    seen = """() => [...document.querySelectorAll("img.thumb")].map((image) => {
        const pen = document.createElement("canvas").getContext("2d");
        pen.drawImage(image, 0, 0);
        return image.naturalWidth && [...pen.getImageData(40, 40, 1, 1).data.slice(0, 3)];
    })"""

    def shown() -> bool:
        found = page.evaluate(seen)
        return len(found) == 2 and found[0] == [255, 255, 255] and found[1] and found[1][0] > 200 > 100 > found[1][1]

    until(shown, 20)
    page.close()
