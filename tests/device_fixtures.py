"""A cache with what browsers need to label by themselves: npm's program, and a network that tells colours."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import onnx

from inference import store
from inference.preparing.browser import runtime
from inference.store import Card

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


def prepare(made: Path) -> Path:
    """Make the folder `made` such a cache, and return it."""
    if not store.ready(store.browser_folder(store.BROWSER_PROGRAM, PROGRAM)):
        home = PROGRAM / store.BROWSER
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            runtime.prepare(PROGRAM, Path(scratch), lambda _: None)
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
