"""The page "On this device": the network runs in a real browser, and no request carries anything of a photo.

tests/test_inference_prepare.py has a real head there, and a worker with its tail.
"""

from __future__ import annotations

import dataclasses
import gzip
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import requests
from PIL import ExifTags, Image
from playwright.sync_api import Browser, Error, FilePayload, Page, Request, expect

from inference.split import header, packing
from inference.split.header import BadActivation
from shoal import folders
from tests import device_fixtures
from tests.device_fixtures import COLOURS, NET
from tests.small_cut import CUT, MODEL, POINT, TAIL, activation
from tests.web_fixtures import Site, jpeg, running_site

LONGEST_ADDRESS = 300
PACK = """async ([numbers, shape, point]) => {
    const { pack } = await import("/static/js/device/packing.js");
    const message = await pack(Float32Array.from(numbers), shape, point);
    return Array.from(new Uint8Array(await message.arrayBuffer()));
}"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = device_fixtures.prepare(tmp_path_factory.mktemp("cache"))
    device_fixtures.add_head(made)
    return made


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


def packed_in_browser(page: Page, numbers: packing.Numbers) -> bytes:
    """The message with these numbers as the page packs it."""
    listed = [float(one) if np.isfinite(one) else None for one in numbers.reshape(-1)]  # JSON has no NaN
    return bytes(page.evaluate(PACK, [listed, numbers.shape, dataclasses.asdict(POINT)]))


def test_what_the_browser_packs_is_what_python_packs(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/device")
    usual = activation()
    same = np.full_like(usual, -2.5)
    halves = (np.resize(np.arange(511), usual.shape) / 2).astype(np.float32)  # as many steps end between two numbers
    halves.flat[-1] = 255
    each: list[packing.Numbers] = [usual, -usual, np.maximum(usual - 200, 0), np.zeros_like(usual), same, halves]
    for sent in each:
        message = packed_in_browser(page, sent)
        expected = packing.pack(sent, POINT, "uint8", "gzip")
        assert header.read(message)[0] == header.read(expected)[0]
        assert (packing.unpack(message, POINT) == packing.unpack(expected, POINT)).all()


def test_a_bomb_behind_the_browsers_header_and_a_damaged_message_are_refused(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/device")
    message = packed_in_browser(page, activation())
    front = message[: -len(header.read(message)[1])]
    bombs = [gzip.compress(bytes(50_000_000)), gzip.compress(b"x" * POINT.values) + message]
    for wrong in (*(front + one for one in bombs), message[:-9], front, front + message):
        with pytest.raises(BadActivation):
            packing.unpack(wrong, POINT)
    with pytest.raises(Error, match="the head gave the shape 4,4,4, not 4,4,3"):
        packed_in_browser(page, np.zeros((4, 4, 4), np.float32))
    with pytest.raises(Error, match="not finite"):
        page.evaluate(PACK.replace("Float32Array.from(numbers)", "new Float32Array(48).fill(NaN)"),
                      [[], POINT.shape, dataclasses.asdict(POINT)])  # fmt: skip


def test_split_sends_activations_and_says_what_became_of_them(cache: Path, page: Page) -> None:
    named = [("red.jpg", jpeg(COLOURS["red"], (900, 600))), ("fail.jpg", jpeg()), ("no.jpg", b"no")]
    with running_site(cache_dir=cache, model=MODEL, venues="split", tails=f"{MODEL}.other,{TAIL}") as site:
        page.goto(f"{site.url}/device")
        expect(page.get_by_role("radio", name="Nothing leaves")).to_be_checked()
        expect(page.get_by_role("link", name="a photo can be rebuilt")).to_have_attribute("href", "/privacy")
        page.get_by_role("radio", name="Split").check()
        page.route("**/photos?*", lambda route: route.abort())
        chosen: list[FilePayload] = [{"name": name, "mimeType": "", "buffer": data} for name, data in named]
        page.set_input_files("#files", chosen)
        expect(page.locator("#lost")).to_have_text("Connection lost, trying again")
        page.unroute("**/photos?*")

        expect(page.locator("#status")).to_have_text("Done: 3 photos")

        states = page.locator(".photo .state").all_text_contents()
        assert states[1:] == ["the picture is cut off", "this browser cannot open the photo"]
        assert states[0].endswith("% sure, by the tail")
        expect(page.locator("#lost")).to_be_empty()
        expect(page.locator("#sent")).to_have_text(re.compile("of 2 photos$"))
        expect(page.locator("#resized")).to_have_text(re.compile("^about "))
        expect(page.locator("#figures")).not_to_contain_text("Nothing was sent")
        kept = {one.key.rsplit("/", 1)[-1]: site.cloud.inputs.get(one.key) for one in site.cloud.inputs.list("")}
        assert sorted(kept) == ["fail.jpg", "red.jpg"]
        found = packing.unpack(kept["red.jpg"], POINT)
        assert np.abs(found - np.array(COLOURS["red"])).max() < 3

        tail = re.compile(re.escape(f"{MODEL}.{CUT}"))
        page.route("**/photos?*", lambda route: route.continue_(url=tail.sub("resnet50.other", route.request.url)))
        page.set_input_files("#files", photos()[:1])
        expect(page.locator(".photo .state").last).to_contain_text("'resnet50.other' is not served here")


def test_split_is_offered_where_it_can_be(cache: Path, site: Site, page: Page) -> None:
    split = page.get_by_role("radio", name="Split")
    text = requests.get(f"{site.url}/device", timeout=10).text
    assert "head.onnx" not in text
    for venues, tails, offered in (("split", f"{MODEL}.other", 0), ("pool", TAIL, 0), ("split", TAIL, 1)):
        with running_site(work=False, cache_dir=cache, model=MODEL, venues=venues, tails=tails) as other:
            page.goto(f"{other.url}/device")
            expect(split).to_have_count(offered)
            if offered:
                address = page.locator("[data-name=head]").get_attribute("data-address") or ""
                assert requests.get(other.url + address, timeout=10).status_code == 200
                assert requests.get(site.url + address, timeout=10).status_code == 404
                page.add_init_script("delete window.CompressionStream")
                page.reload()
                expect(split).to_be_disabled()
                expect(page.locator("#split-hint")).to_contain_text("it has no CompressionStream")


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
