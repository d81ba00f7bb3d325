"""A cache with what browsers need: npm's program, a network that tells colours, a head. And what a page sends."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import onnx
from playwright.sync_api import Page

from inference import store
from inference.preparing.browser import runtime
from inference.preparing.browser.request import HEAD_FILE
from inference.store import Card
from tests.small_cut import CUT, MODEL, POINT

PROGRAM = Path(__file__).parent.parent / "build" / "device"  # fetched once, as the Makefile's axe.js
COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}

# The shares of the three colours. Its input is that of MobileNetV2.
NET = """
<ir_version: 8, opset_import: ["": 17]>
net (uint8[N, 224, 224, 3] image) => (float[N, 3] shares) <float tenth = {0.1}> {
    pixels = Cast<to=1>(image)
    means = ReduceMean<keepdims=0, axes=[1, 2]>(pixels)
    small = Mul(means, tenth)
    shares = Softmax(small)
}
"""

# The head of tests/small_cut.py.
HEAD = """
<ir_version: 8, opset_import: ["": 17]>
head (uint8[N, 224, 224, 3] image) => (float[N, 4, 4, 3] activation) {
    pixels = Cast<to=1>(image)
    moved = Transpose<perm=[0, 3, 1, 2]>(pixels)
    small = AveragePool<kernel_shape=[56, 56], strides=[56, 56]>(moved)
    activation = Transpose<perm=[0, 2, 3, 1]>(small)
}
"""

# Keeps what the page sends: the text of a body, or the bytes of each file of a form, in base64.
RECORDER = """
window.bodies = [];
const read = async (blob) => {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  return btoa(Array.from(bytes, (one) => String.fromCharCode(one)).join(""));
};
const keep = (body) => {
  if (body instanceof FormData) for (const [, file] of body) window.bodies.push(read(file));
  else if (body) window.bodies.push(read(new Blob([body])));
};
const { send } = XMLHttpRequest.prototype;
XMLHttpRequest.prototype.send = function (body) { keep(body); return send.call(this, body); };
const asked = window.fetch;
window.fetch = (address, options) => { keep(options?.body); return asked(address, options); };
"""


def prepare(made: Path) -> Path:
    """Make the folder `made` such a cache, and return it."""
    runtime.fetch(PROGRAM, lambda _: None, again=False)
    net = store.browser_folder(store.BROWSER_MODEL, made)
    net.mkdir(parents=True)
    runtime.pack(onnx.parser.parse_model(NET).SerializeToString(), net / "model.onnx.gz")
    classes = [[f"n{number}", colour, colour] for number, colour in enumerate(COLOURS)]
    runtime.pack(json.dumps(classes).encode(), net / "classes.json.gz")
    learned = {"model": "resnet50", "threshold": 0.74, "learned_on": 60, "judged_on": 100, "stay": 63, "agree": 98}
    told = {"unsure": learned | {"steps": [[0.0, 0.3], [0.7, 0.9]]}}
    card = Card(store.BROWSER_MODEL, store.BROWSER, "a test", "", "", store.describe(net), {}, "2026-11-30", told)
    card.write(net)
    store.browser_folder(store.BROWSER_PROGRAM, made).symlink_to(store.browser_folder(store.BROWSER_PROGRAM, PROGRAM))
    return made


def add_head(made: Path) -> None:
    """Put the small cut's head for browsers into such a cache."""
    folder = store.part_folder(MODEL, CUT, store.HEAD, made) / store.BROWSER
    folder.mkdir(parents=True)
    runtime.pack(onnx.parser.parse_model(HEAD).SerializeToString(), folder / HEAD_FILE)
    POINT.write(folder)
    Card(MODEL, store.BROWSER, "a test", "", "", store.describe(folder), {}, "2026-12-01").write(folder)


def bodies(page: Page) -> list[bytes]:
    """All that a page has sent, if RECORDER was there before it was opened."""
    return [base64.b64decode(one) for one in page.evaluate("Promise.all(window.bodies)")]
