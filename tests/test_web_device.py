"""The page "On this device": the network runs in a real browser, and no request carries anything of a photo."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
import requests
from PIL import ExifTags, Image
from playwright.sync_api import Browser, FilePayload, Page, Request, expect

from shoal import folders
from tests import device_fixtures
from tests.device_fixtures import COLOURS, NET
from tests.web_fixtures import Site, jpeg, running_site

LONGEST_ADDRESS = 300


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return device_fixtures.prepare(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def site(cache: Path) -> Iterator[Site]:
    with running_site(work=False, cache_dir=cache) as running:
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 800})
    yield context.new_page()
    context.close()


def photos() -> list[FilePayload]:
    """A photo of each colour, and a file that is none."""
    shown = [(f"{name}.jpg", jpeg(colour, (300, 200))) for name, colour in COLOURS.items()]
    return [
        {"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in [*shown, ("no.jpg", b"no")]
    ]


def test_nothing_of_a_photo_leaves_the_browser(site: Site, page: Page) -> None:
    sent: list[Request] = []
    page.context.on("request", lambda request: sent.append(request))
    page.goto(f"{site.url}/device")
    page.set_input_files("#files", photos())

    expect(page.locator("#status")).to_have_text("Done: 4 photos")

    assert page.locator(".photo .label").all_text_contents()[:3] == list(COLOURS)
    expect(page.locator(".photo.failed .state")).to_have_text("this browser cannot open the photo")
    addresses = [one.url for one in sent if not one.url.startswith("blob:")]
    assert any(address.endswith("/ort.wasm") for address in addresses), "the worker's requests were not seen"
    for one in sent:
        assert one.method == "GET"
        assert one.post_data_buffer is None
        assert len(one.url) < LONGEST_ADDRESS
    assert not list(site.cloud.inputs.list(""))


def test_only_what_is_unsure_is_sent(cache: Path, page: Page) -> None:
    grey: FilePayload = {"name": "grey.jpg", "mimeType": "image/jpeg", "buffer": jpeg((120, 120, 120), (600, 400))}
    with running_site(cache_dir=cache) as site:
        page.goto(f"{site.url}/device")
        page.set_input_files("#files", [*photos()[:1], grey])
        expect(page.locator("#stay")).to_have_text("1 of 2")
        expect(page.locator("#agreement")).to_have_text("95%")
        expect(page.locator("#figures")).to_contain_text("Nothing was sent")
        page.locator("#threshold").fill("0")
        expect(page.locator("#stay")).to_have_text("2 of 2")
        page.locator("#threshold").fill("74")
        page.get_by_label("Make them smaller first").check()

        page.get_by_role("button", name="Send 1 photo").click()

        expect(page.locator(".photo .state").nth(1)).to_contain_text("by the pool")
        expect(page.locator("#figures")).to_be_empty()
        [kept] = list(site.cloud.inputs.list(""))
        assert kept.key.endswith("/grey.jpg")
        assert Image.open(io.BytesIO(site.cloud.inputs.get(kept.key))).size == (384, 256)
        expect(page.get_by_role("button", name="Nothing to send")).to_be_disabled()


def test_only_the_worker_may_compile_webassembly(site: Site) -> None:
    policies = {
        path: requests.get(site.url + path, timeout=10).headers["Content-Security-Policy"]
        for path in ("/", "/device", "/device/worker.js")
    }

    assert [path for path, policy in policies.items() if "unsafe" in policy] == ["/device/worker.js"]


def test_files_are_kept_for_good_and_others_are_not_there(site: Site) -> None:
    text = requests.get(f"{site.url}/device", timeout=10).text
    address = next(part for part in text.split('"') if part.endswith("/model.onnx"))

    reply = requests.get(site.url + address, timeout=10)
    wrong = [
        address.replace("model.onnx", "card.json"),
        f"/device/files/..%2f/1/{folders.__name__}",
        "/device/files/x/1/a",
    ]

    assert (reply.headers["Content-Encoding"], "immutable" in reply.headers["Cache-Control"]) == ("gzip", True)
    assert len(reply.content) == len(onnx.parser.parse_model(NET).SerializeToString())
    assert [requests.get(site.url + path, timeout=10).status_code for path in wrong] == [404, 404, 404]


def test_the_page_says_what_to_run_or_why_it_cannot(site: Site, page: Page, tmp_path: Path) -> None:
    page.add_init_script("WebAssembly.validate = () => false")
    page.goto(f"{site.url}/device")
    expect(page.locator("#cannot")).to_contain_text("WebAssembly has no SIMD")
    with running_site(work=False, cache_dir=tmp_path) as bare:
        page.goto(f"{bare.url}/device")
        expect(page.get_by_text("shoal models prepare --browser")).to_be_visible()


def test_a_connection_that_is_lost_can_be_tried_again(site: Site, page: Page) -> None:
    page.route("**/ort.wasm", lambda route: route.abort())
    page.goto(f"{site.url}/device")
    page.set_input_files("#files", photos()[:1])
    expect(page.locator("#status")).to_contain_text("The network cannot run")
    page.unroute("**/ort.wasm")

    page.get_by_role("button", name="Try again").click()

    expect(page.locator("#status")).to_have_text("Done: 1 photo")


def test_smaller_copies_are_upright_and_without_a_place_and_their_code_is_loaded_when_wanted(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.rsplit("/", 1)[-1].partition("?")[0]))
    picture = photo_of_a_place((600, 400), "TIFF")  # Chromium cannot open it
    sent = {"tall.jpg": photo_of_a_place((600, 400)), "small.jpg": jpeg(size=(200, 100)), "scan.tiff": picture}
    with running_site(models="ssd_mobilenet_v2", private_data="keep") as site:
        page.goto(site.url)
        files: list[FilePayload] = [{"name": name, "mimeType": "", "buffer": data} for name, data in sent.items()]
        page.set_input_files("#files", files)
        expect(page.get_by_label("Send smaller copies")).not_to_be_checked()
        assert "smaller.js" not in asked
        page.get_by_label("Send smaller copies").check()
        page.reload()
        page.set_input_files("#files", files)
        expect(page.get_by_label("Send smaller copies")).to_be_checked()
        page.select_option("#model", "ssd_mobilenet_v2")
        expect(page.get_by_label("Send smaller copies")).to_be_hidden()
        page.select_option("#model", "resnet50")
        page.click("#go")
        expect(page.locator("#status")).to_have_text(re.compile("^Done: 3 photos"))
        arrived = {one.key.rsplit("/", 1)[-1]: site.cloud.inputs.get(one.key) for one in site.cloud.inputs.list("")}
    assert "smaller.js" in asked
    copy = Image.open(io.BytesIO(arrived.pop("tall.jpg")))
    assert (copy.size, dict(copy.getexif())) == ((256, 384), {})
    assert arrived == {name: sent[name] for name in arrived}
    assert sorted(arrived) == ["scan.tiff", "small.jpg"]


def photo_of_a_place(size: tuple[int, int], form: str = "JPEG") -> bytes:
    """A photo of that size as it is stored, to be turned by a quarter, with a place in its EXIF data."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    written = io.BytesIO()
    Image.new("RGB", size, (20, 110, 130)).save(written, form, exif=exif)
    return written.getvalue()
