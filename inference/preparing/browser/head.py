"""The head of a cut as browsers run it, and its comparison with the whole net before it is put in place."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from inference import engines, store, tasks
from inference.model import Model
from inference.preparing import agreement, architecture, subprocess_task
from inference.preparing.browser import few_bits, runtime
from inference.preparing.browser.request import AGREEING, HEAD_FILE, BrowserRequest
from inference.preparing.convert import now, versions
from inference.preparing.cutting import keras_graph
from inference.preparing.prepare import locked
from inference.preparing.sources import Say
from inference.split import packing
from inference.split.point import tail_name
from inference.store import Card
from shoal.errors import NotFound, Permanent

_ONNX, _NET = engines.by_name("onnxruntime"), "model.onnx"
TASK = "classify"  # the page shows a net the central square of a photo, as this task does


def prepare(
    name: str, cut: str, engine: str, cache_dir: Path, photos: Sequence[Path], say: Say, again: bool = False
) -> Card:
    """Make the head of a cut ready for browsers, and their program; return the head's card. At once if it is ready.

    Head and tail must be prepared for `engine`. photos: to compare the head and that tail with the whole net.

    Raises NotFound if they are not prepared; Retryable or Permanent.
    """
    model = store.model(name, cache_dir)
    if model.task != TASK:
        raise Permanent(f"{model.title} does not label whole photos: browsers run no head of it")
    runtime.fetch(cache_dir, say, again=False)
    _, point = store.find_head(name, cut, engine, cache_dir)
    if not again:
        with suppress(NotFound):
            found, made_for = store.find_head(name, cut, store.BROWSER, cache_dir)
            if made_for == point:  # else it was made from other weights
                return found.card
    home = store.model_folder(model, cache_dir, None)
    with locked(home, say):
        scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home))
        try:
            made = scratch / store.BROWSER
            made.mkdir()
            asked = BrowserRequest(
                name, str(cache_dir.resolve()), str(made), [str(photo.resolve()) for photo in photos], cut, engine
            )
            subprocess_task.ask(
                "inference.preparing.browser", json.dumps(asdict(asked)), lambda fields: say(fields["say"])
            )
            point.write(made)
            card = Card.read(made)
            store.put_in_place(made, store.part_folder(name, cut, store.HEAD, cache_dir) / store.BROWSER)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    if card is None:
        raise Permanent(f"the head of {model.title} at {cut} was not made whole: run the command again")
    return card


def make(model: Model, net: Any, origin: Card, asked: BrowserRequest, say: Say) -> None:
    """Write the head of `asked.cut` into the empty folder `asked.target`. Raises NotFound and Permanent.

    net: the whole Keras net, without preprocessing. origin: the card of its weights.
    """
    target = Path(asked.target)
    with tempfile.TemporaryDirectory() as scratch:
        say(f"writing the head of {model.title} as ONNX, its weights in few bits")
        _ONNX.convert(keras_graph.head_of(model, net, asked.cut), Path(scratch))
        small = Path(scratch) / "few_bits"
        small.mkdir()
        few_bits.store(Path(scratch) / _NET, small / _NET)
        say(f"comparing it, and its tail, with Keras on {len(asked.photos)} photos")
        found = _compare(model, architecture.with_preprocessing(model, net), small, asked)
        runtime.pack((small / _NET).read_bytes(), target / HEAD_FILE)
    card = replace(origin, engine=store.BROWSER, files=store.describe(target), versions=versions(), made_at=now())
    replace(card, agreement=found | {"part": store.HEAD}).write(target)


def _compare(model: Model, whole: Any, folder: Path, asked: BrowserRequest) -> dict[str, Any]:
    """How often the browser's head, packing and the worker's tail give the label of Keras' whole net.

    Raises NotFound if the tail is not prepared, Permanent if that is too seldom.
    """
    _, point = store.find_head(model.name, asked.cut, asked.engine, Path(asked.cache))
    tail = store.find(tail_name(model.name, asked.cut), asked.engine, Path(asked.cache))
    head = _ONNX.load(model, folder)
    rest = engines.by_name(tail.engine).load(tail.model, tail.folder, precision=tail.precision)
    opened = agreement.decoded(model, [Path(photo) for photo in asked.photos])
    if not opened:
        raise Permanent("there are no photos to check the head with")
    task = tasks.by_name(model.task)
    same = 0
    for one in opened:
        right = agreement.names(task.read(model, architecture.outputs(whole, one.tensor), one))
        sent = packing.unpack(packing.pack(head.infer(one.tensor)[0][0], point, "uint8", "gzip"), point)
        same += agreement.names(task.read(model, rest.infer(np.stack([sent])), one)) == right
    if same < AGREEING * len(opened):
        raise Permanent(
            f"the head of {model.title} at {asked.cut} in few bits and its tail give the label of Keras for {same} of "
            f"{len(opened)} photos only: it was not put in place"
        )
    return {"photos": len(opened), "reference": "Keras", "uint8": {"same_label": same}}
