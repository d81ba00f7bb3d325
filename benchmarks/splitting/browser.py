"""`python -m benchmarks.splitting.browser`: the page `/device` with its real network, in a headless browser.

How fast it labels, how long the first label takes, how many bytes its first use fetches, and how many labels are those
of the worker's MobileNetV2 in float32. The same with the head of a cut in the browser, and its tail in a worker: then
also what travels for a photo.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import requests
from playwright.sync_api import BrowserContext, Page, expect

from benchmarks.default import chromium
from benchmarks.running.system import RunningSystem
from inference.preparing.browser import head, request
from inference.preparing.cutting import request as cutting
from inference.process import load
from inference.split.point import tail_name
from shoal import settings
from shoal.messages import readable
from shoal_cli.models import photos_at_hand

MODEL = "mobilenet_v2"
CUT = "block_12_add"
PHOTO_SECONDS = 5  # at most, of a photo on a slow machine
START_SECONDS = 120
# Counts the bytes of the files that the page sends: what Chromium tells of a request leaves them out.
_COUNTER = """
window.sent = 0;
const { send } = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.send = function (body) {
  for (const [, file] of body) window.sent += file.size;
  return send.call(this, body);
};
"""


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@click.option("--cut", default=CUT, show_default=True, help="The cut of MobileNetV2 whose head runs in the browser.")
def main(as_json: bool, cut: str) -> None:
    """Label all photos at hand in the browser, with its head and a worker's tail, and in the worker's engine."""
    chosen = settings.load()
    photos = photos_at_hand(chosen.cache_dir)
    _prepare(chosen, cut, photos)
    with tempfile.TemporaryDirectory(prefix="shoal-browser-") as folder:
        system = RunningSystem(Path(folder), MODEL=MODEL, VENUES="pool,split", TAILS=tail_name(MODEL, cut))
        system.start()
        try:
            found, labels = _measured(system.address, photos)
            split, split_labels = _measured_split(system.address, photos)
        finally:
            system.stop()
    right = [one.lower() for one in _labels_of_worker(chosen, photos)]
    same, split_same = (
        sum(one.lower() == other for one, other in zip(each, right, strict=True)) for each in (labels, split_labels)
    )
    figures = {**found, "same_label": same, "photos": len(photos), **split, "split_same_label": split_same}
    click.echo(json.dumps(figures) if as_json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


def _prepare(chosen: settings.Settings, cut: str, photos: Sequence[Path]) -> None:
    def say(words: str) -> None:
        click.echo(words, err=True)

    request.prepare(chosen.cache_dir, photos, say)
    cutting.prepare_pair(MODEL, cut, chosen.engine, chosen.cache_dir, photos, say)
    head.prepare(MODEL, cut, chosen.engine, chosen.cache_dir, photos, say)


def _measured(address: str, photos: Sequence[Path]) -> tuple[dict[str, float], list[str]]:
    with chromium() as browser:
        context = browser.new_context()
        first = _first_label(context, address, photos[0])
        again = _first_label(context, address, photos[0])
        page = _opened(context, address)
        _label(page, photos[:1])  # the network is loaded
        began = time.perf_counter()
        _label(page, photos, before=1)
        seconds = time.perf_counter() - began
        labels = page.locator(".photo .label").all_text_contents()[1:]
        files = [
            address + str(one.get_attribute("data-address"))
            for one in page.locator(".file:not([data-name=head])").all()
        ]
    figures = {
        "images_per_second": round(len(photos) / seconds, 1),
        "first_use_to_first_label_seconds": round(first, 2),
        "kept_by_the_browser_first_label_seconds": round(again, 2),
        "fetched_megabytes": round(sum(map(_packed, files)) / 1e6, 2),
    }
    return figures, labels


def _measured_split(address: str, photos: Sequence[Path]) -> tuple[dict[str, float], list[str]]:
    """The same with the head in the browser. The tail's worker has booted before."""
    with chromium() as browser:
        page = browser.new_context().new_page()
        page.add_init_script(_COUNTER)
        page.goto(f"{address}/device")
        page.get_by_role("radio", name="Split").check()
        _label(page, photos[:1])
        before = page.evaluate("window.sent")
        began = time.perf_counter()
        _label(page, photos, before=1)
        seconds = time.perf_counter() - began
        sent = page.evaluate("window.sent") - before
        labels = page.locator(".photo .label").all_text_contents()[1:]
        head_bytes = _packed(address + str(page.locator("[data-name=head]").get_attribute("data-address")))
    figures = {
        "split_images_per_second": round(len(photos) / seconds, 1),
        "split_kilobytes_a_photo": round(sent / len(photos) / 1e3, 1),
        "photo_kilobytes": round(sum(photo.stat().st_size for photo in photos) / len(photos) / 1e3, 1),
        "head_megabytes": round(head_bytes / 1e6, 2),
    }
    return figures, labels


def _first_label(context: BrowserContext, address: str, photo: Path) -> float:
    """Seconds from the choice of a photo on a fresh page to its label."""
    page = _opened(context, address)
    began = time.perf_counter()
    page.set_input_files("#files", [photo])
    expect(page.locator(".photo.done")).to_have_count(1, timeout=START_SECONDS * 1000)
    took = time.perf_counter() - began
    page.close()
    return took


def _opened(context: BrowserContext, address: str) -> Page:
    page = context.new_page()
    page.goto(f"{address}/device")
    return page


def _packed(address: str) -> int:
    """Bytes of a file on its way to a browser."""
    with requests.get(address, headers={"Accept-Encoding": "gzip"}, stream=True, timeout=START_SECONDS) as reply:
        return len(reply.raw.read())


def _label(page: Page, photos: Sequence[Path], before: int = 0) -> None:
    page.set_input_files("#files", photos)
    limit = (START_SECONDS + PHOTO_SECONDS * len(photos)) * 1000
    expect(page.locator("#status")).to_contain_text(f"Done: {len(photos) + before} ", timeout=limit)


def _labels_of_worker(chosen: settings.Settings, photos: Sequence[Path]) -> list[str]:
    limits = chosen.max_pixels, chosen.max_file_bytes
    recogniser = load([MODEL], "openvino", chosen.cache_dir, None, *limits, precision="float32")
    answers = (recogniser.infer(MODEL, [recogniser.decode(MODEL, path.read_bytes())])[0] for path in photos)
    return [readable(one.labels[0].name) for one in answers]


if __name__ == "__main__":
    main()
