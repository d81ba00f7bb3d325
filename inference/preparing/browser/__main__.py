"""The child process that makes a model for browsers: `python -m inference.preparing.browser <request>`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference import engines, store
from inference.model import Model, labels
from inference.preparing import agreement, architecture, subprocess_task
from inference.preparing.browser import few_bits, head, runtime
from inference.preparing.browser.request import AGREEING, PAGE_FILES, BrowserRequest
from inference.preparing.convert import now, versions
from shoal.errors import Permanent
from shoal.messages import readable


def _work(text: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    asked = BrowserRequest(**json.loads(text))
    model = store.model(asked.model, Path(asked.cache))
    weights, origin = architecture.prepared_weights(model, Path(asked.cache))
    tell(say="starting TensorFlow")
    net = architecture.load(model, weights)
    if asked.cut:
        head.make(model, net, origin, asked, lambda words: tell(say=words))
        return {}
    whole = architecture.with_preprocessing(model, net)
    target = Path(asked.target)
    with tempfile.TemporaryDirectory() as scratch:
        tell(say=f"writing {model.title} as ONNX, its weights in few bits")
        engines.by_name("onnxruntime").convert(whole, Path(scratch))
        file = Path(scratch) / "few_bits.onnx"
        few_bits.store(Path(scratch) / "model.onnx", file)
        tell(say=f"comparing it with Keras on {len(asked.photos)} photos")
        found = _compare(model, whole, file, [Path(photo) for photo in asked.photos])
        net, classes = PAGE_FILES
        runtime.pack(file.read_bytes(), target / net)
    names = [[number, name, readable(name)] for number, name in labels(model.labels)]
    runtime.pack(json.dumps(names, ensure_ascii=False).encode(), target / classes)
    files = store.describe(target)
    card = replace(origin, engine=store.BROWSER, files=files, versions=versions(), made_at=now(), agreement=found)
    card.write(target)
    return {}


def _compare(model: Model, whole: Any, file: Path, photos: Sequence[Path]) -> dict[str, Any]:
    """How often the best label is that of Keras. Raises Permanent if it is too seldom."""
    opened = agreement.decoded(model, photos)
    same, difference = 0, 0.0
    for one in opened:
        right, found = architecture.outputs(whole, one.tensor)[0], architecture.outputs(file, one.tensor)[0]
        same += int(right.argmax() == found.argmax())
        difference = max(difference, float(abs(right - found).max()))
    if same < AGREEING * len(opened):
        raise Permanent(
            f"{model.title} in few bits gives the label of Keras for {same} of {len(opened)} photos only: it was not "
            "put in place"
        )
    return {
        "photos": len(opened),
        "reference": "Keras",
        "float32": {"same_label": same, "max_difference": round(difference, 4)},
    }


if __name__ == "__main__":
    subprocess_task.answer(_work)
