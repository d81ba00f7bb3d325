"""Models that are described by files in their folder of the cache, not by one of `inference/models`.

    <cache>/models/<name>/model.json     task, side; of keras.applications: keras, title, size
    <cache>/models/<name>/labels.csv     ",name" or "id,name" a class, in class order
    <cache>/models/<name>/weights/       the Keras net or the ONNX file, its preprocessing inside

`inference/training` makes them, `inference/preparing/adopt.py` does of a file of the user's, and a preparation of any
name in keras.applications: those have weights and labels like the models in `inference/models`.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from inference.model import KerasDownload, Model

NET = "model.keras"
ONNX = "model.onnx"

_DESCRIPTION = "model.json"
_LABELS = "labels.csv"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


def is_name(text: str) -> bool:
    """Whether a model may be called so: up to 40 of a-z, 0-9, - and _, the first a letter or digit."""
    return _NAME.fullmatch(text) is not None


def describe(
    name: str, task: str, side: int, classes: Sequence[str], folder: Path, ids: Sequence[str] | None = None
) -> Model:
    """Write the description of a model in `folder`, and return what it says. `ids`: WordNet's, one for each class."""
    with (folder / _LABELS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(zip(ids or [""] * len(classes), classes, strict=True))
    fields = {"task": task, "side": side}
    (folder / _DESCRIPTION).write_text(json.dumps(fields) + "\n")
    return _model(name, fields, folder)


def describe_application(name: str, module: str, title: str, side: int, size: int, folder: Path) -> Model:
    """The same of `keras.applications.<title>`, whose weights have `size` bytes."""
    fields = {"task": "classify", "side": side, "keras": [module, title], "size": size}
    draft = folder / f".{_DESCRIPTION}"
    draft.write_text(json.dumps(fields) + "\n")
    draft.replace(folder / _DESCRIPTION)
    return _model(name, fields, folder)


def find(name: str, cache_dir: Path) -> Model | None:
    """The model of that name in the cache; None when it is not one of people's own."""
    if not is_name(name):
        return None
    folder = cache_dir / "models" / name
    try:
        return _model(name, json.loads((folder / _DESCRIPTION).read_text()), folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def preprocess_input(pixels: Any) -> Any:
    """Nothing: the net does it. (What `Model.keras` wants of a module.)"""
    return pixels


def _model(name: str, fields: dict[str, Any], folder: Path) -> Model:
    task, side = str(fields["task"]), int(fields["side"])
    if "keras" in fields:
        module, title = fields["keras"]
        source = KerasDownload(title, int(fields["size"]), "Keras' own: see its page on applications")
        return Model(name, title, task, side, (module, title), (source,), "imagenet.csv")
    labels = str((folder / _LABELS).resolve())
    return Model(name=name, title=name, task=task, side=side, keras=(__name__, ""), sources=(), labels=labels)
