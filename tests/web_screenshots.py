"""Makes the pictures in docs/images. Needs a Chromium and Playwright.

python tests/web_screenshots.py               the pictures that the documentation shows, labelled by a fake worker
python tests/web_screenshots.py FOLDER        every state at every size, to look at
python tests/web_screenshots.py FOLDER URL    page.png alone, of a Shoal that runs at URL
"""

from __future__ import annotations

import io
import math
import os
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from PIL import Image, ImageDraw, ImageFilter  # noqa: E402
from playwright.sync_api import Browser, FilePayload, Page, ViewportSize, sync_playwright  # noqa: E402

from shoal.messages import Job  # noqa: E402
from tests.fleet_fixtures import write_ledger  # noqa: E402
from tests.waiting import until  # noqa: E402
from tests.web_fixtures import Site, running_site  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

DESKTOP: ViewportSize = {"width": 1280, "height": 860}
PHONE: ViewportSize = {"width": 390, "height": 844}
DOCS = ROOT / "docs" / "images"
KEPT = {
    "page",
    "upload-desktop",
    "during-desktop-dark",
    "done-phone-dark",
    "failed-phone",
    "opened-phone-dark",
    "fleet-desktop",
}
SECRET = "sixteen or more letters"
LARGEST_BYTES = 300_000
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def landscape(number: int) -> bytes:
    """A soft made-up landscape, another one for each number."""
    width, height = 480, 360
    hue = (number * 47) % 360
    sky = Image.linear_gradient("L").resize((width, height))
    top = Image.new("HSV", (1, 1), (int(hue * 255 / 360), 120, 235)).convert("RGB").getpixel((0, 0))
    low = Image.new("HSV", (1, 1), (int(((hue + 60) % 360) * 255 / 360), 70, 250)).convert("RGB").getpixel((0, 0))
    picture = Image.composite(Image.new("RGB", (width, height), low), Image.new("RGB", (width, height), top), sky)
    draw = ImageDraw.Draw(picture)
    x, y, r = 60 + (number * 83) % 360, 50 + (number * 29) % 90, 26 + number % 3 * 8
    draw.ellipse((x - r, y - r, x + r, y + r), fill=(255, 250, 225))
    for layer in range(3):
        colour = Image.new("HSV", (1, 1), (int(((hue + 150 + 20 * layer) % 360) * 255 / 360), 110, 150 - 38 * layer))
        base, swing = 200 + layer * 52, 46 - layer * 10
        ridge = [
            (x, base + swing * math.sin(x / (70 + 17 * layer) + number * 1.7 + layer) + 9 * math.sin(x / 19 + number))
            for x in range(0, width + 8, 8)
        ]
        draw.polygon([(0, height), *ridge, (width, height)], fill=colour.convert("RGB").getpixel((0, 0)))
    body = io.BytesIO()
    picture.filter(ImageFilter.GaussianBlur(0.6)).save(body, "JPEG", quality=86)
    return body.getvalue()


def files(count: int, bad: int = 0) -> list[FilePayload]:
    """Photos to choose, the last `bad` of which fail."""
    good: list[FilePayload] = [
        {"name": f"test_{number}.JPG", "mimeType": "image/jpeg", "buffer": landscape(number)}
        for number in range(count - bad - 1)
    ]
    good.append({"name": "street.jpg", "mimeType": "image/jpeg", "buffer": landscape(count)})  # with two people in it
    broken: list[FilePayload] = [
        {"name": "holiday.docx.jpg", "mimeType": "image/jpeg", "buffer": b"PK\x03\x04 not a photo"},
        {"name": "fail_scan_0042.jpg", "mimeType": "image/jpeg", "buffer": landscape(99)},
    ]
    return [*good, *broken[:bad]]


def open_page(stack: ExitStack, browser: Browser, size: ViewportSize, **options: Any) -> Page:
    """A page of its own."""
    context = browser.new_context(viewport=size, **options)
    stack.callback(context.close)
    return context.new_page()


def shoot(page: Page, folder: Path, name: str) -> None:
    """One picture, after the page has come to rest."""
    page.wait_for_load_state("networkidle") if "/batches/" not in page.url else page.wait_for_timeout(700)
    if folder == DOCS and name not in KEPT:
        return
    picture = folder / f"{name}.png"
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    image.save(picture, optimize=True)
    if picture.stat().st_size > LARGEST_BYTES:
        image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(picture, optimize=True)


def choose(page: Page, site: Site, chosen: list[FilePayload]) -> None:
    """Open the upload page and choose photos."""
    page.goto(site.url)
    page.set_input_files("#files", chosen)
    page.wait_for_selector("#tray:not([hidden])")
    page.locator(".thumb[src^=blob]").first.wait_for()


def journey(browser: Browser, folder: Path, kind: str, size: ViewportSize, **options: Any) -> None:
    """Every state of the page at one size."""
    with ExitStack() as stack:
        state_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        write_ledger(state_dir, time.time())
        site = stack.enter_context(running_site(work=False, state_dir=state_dir, operator_secret=SECRET))
        page = open_page(stack, browser, size, **options)
        page.goto(site.url)
        shoot(page, folder, f"upload-{kind}")
        choose(page, site, files(24, bad=2))
        shoot(page, folder, f"chosen-{kind}")
        page.click("#go")
        page.wait_for_url("**/batches/*")
        page.wait_for_selector(".photo.queued")
        site.cloud.pool.launch([f"app-{number}" for number in range(1, 6)], "picture")
        until(lambda: site.cloud.requests.depth().visible >= 23)
        site.worker.step(9)
        page.wait_for_selector("text=/Labelling: .* 5 workers/")
        page.locator(".photo.done, .photo.failed").nth(9).wait_for()
        shoot(page, folder, f"during-{kind}")
        while site.worker.step():
            pass
        page.wait_for_selector("h1:has-text('Done')")
        shoot(page, folder, f"done-{kind}")
        opened = page.locator(".photo.done >> nth=1")
        opened.locator("summary").click()
        opened.get_by_label("Wrong label? It is:").fill("sunset")
        opened.get_by_role("button", name="Correct").click()
        opened.evaluate("one => scrollBy(0, one.getBoundingClientRect().top - 140)")
        shoot(page, folder, f"opened-{kind}")
        page.select_option("[name=sort]", "sure")
        page.fill("[name=text]", "test_1")
        page.evaluate("scrollTo(0, 0)")
        shoot(page, folder, f"found-{kind}")
        page.fill("[name=text]", "")
        page.select_option("[name=sort]", "sent")
        page.locator(".photo").nth(23).wait_for()
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        shoot(page, folder, f"failed-{kind}")
        large(page, folder, kind)
        cancelled(page, site, folder, kind)
        page.goto(f"{site.url}/batches/00000000000000000000")
        shoot(page, folder, f"problem-{kind}")
        fleet(page, site, folder, kind)


def large(page: Page, folder: Path, kind: str) -> None:
    """A photo with boxes, opened large."""
    page.get_by_role("link", name="Show street.jpg large").click()
    page.locator("#viewer .mark").first.wait_for()
    shoot(page, folder, f"large-{kind}")
    page.keyboard.press("Escape")


def cancelled(page: Page, site: Site, folder: Path, kind: str) -> None:
    """A batch that was cancelled, and the list of this browser's batches."""
    chosen = files(9)
    chosen[0]["name"] = "a_very_long_name_that_fits_on_no_card_IMG_0042.jpg"
    choose(page, site, chosen)
    page.click("#go")
    page.locator(".photo.queued").nth(8).wait_for()
    site.worker.step(4)
    page.get_by_role("button", name="Cancel").click()
    page.locator(".photo.cancelled").nth(4).wait_for()
    shoot(page, folder, f"cancelled-{kind}")
    page.goto(site.url)
    page.locator("#mine").scroll_into_view_if_needed()
    shoot(page, folder, f"mine-{kind}")


def fleet(page: Page, site: Site, folder: Path, kind: str) -> None:
    """The fleet, as a stranger and as the operator sees it."""
    site.cloud.dead_letters.send([Job("1" * 20, 0, "a.jpg", "r").to_json()] * 2)
    site.cloud.requests.send([Job("1" * 20, number, "a.jpg", "r").to_json() for number in range(3)])
    page.goto(f"{site.url}/fleet")
    shoot(page, folder, f"fleet-{kind}")
    page.click("text=Sign in to act")
    shoot(page, folder, f"sign-in-{kind}")
    page.fill("#secret", SECRET)
    page.get_by_role("button", name="Sign in").click()
    shoot(page, folder, f"operator-{kind}")
    page.get_by_role("link", name="Look at them").click()
    page.locator(".message summary").first.click()
    shoot(page, folder, f"dead-letters-{kind}")
    page.get_by_role("button", name="Send again").first.click()
    page.locator(".told").scroll_into_view_if_needed()
    shoot(page, folder, f"dead-letters-sent-{kind}")
    page.goto(f"{site.url}/compare")
    shoot(page, folder, f"compare-{kind}")


def readme_picture(browser: Browser, folder: Path, url: str) -> None:
    """The finished page as the README shows it, of the Shoal at `url` or of one with a fake worker."""
    with ExitStack() as stack:
        page = open_page(stack, browser, {"width": 1180, "height": 760})
        site = None if url else stack.enter_context(running_site(work=False))
        if site:
            site.cloud.pool.launch([f"app-{number}" for number in range(1, 6)], "picture")
        page.goto(site.url if site else url)
        for button in page.locator(".example").all():
            button.click()
        page.locator(".thumb[src^=blob]").nth(7).wait_for()
        page.click("#go")
        page.locator(".photo.queued").nth(7).wait_for()
        page.wait_for_timeout(1500)
        while site and site.worker.step():
            pass
        page.wait_for_selector("h1:has-text('Done')", timeout=300_000)
        page.click("li.photo >> nth=1 >> summary")
        page.evaluate("() => document.activeElement.blur()")
        shoot(page, folder, "page")


def main() -> None:
    """All pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    url = sys.argv[2] if len(sys.argv) > 2 else ""
    folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        readme_picture(browser, folder, url)
        if url:
            return
        journey(browser, folder, "desktop", DESKTOP)
        journey(browser, folder, "desktop-dark", DESKTOP, color_scheme="dark")
        journey(browser, folder, "phone", {"width": 360, "height": 780}, is_mobile=True, has_touch=True)
        journey(browser, folder, "phone-dark", PHONE, is_mobile=True, has_touch=True, color_scheme="dark")


if __name__ == "__main__":
    main()
