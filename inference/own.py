"""Models that are described by files in the cache, not by a file in `inference/models`.

    <cache>/models/<name>/model.json     task, side, none_below; of keras.applications: keras, title, size
    <cache>/models/<name>/labels.csv     ",name" or "id,name" for each class, in class order
    <cache>/models/<name>/weights/       the Keras net or the ONNX file, its preprocessing inside

`inference/training` writes them for a trained model, `inference/preparing/adopt.py` for a user's file, and
`inference/preparing/prepare.py` for a name in keras.applications, whose weights and labels are like those of the models
in `inference/models`.
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
    """Whether `text` may be the name of a model: up to 40 of a-z, 0-9, - and _, the first a letter or digit."""
    return _NAME.fullmatch(text) is not None


def describe(
    name: str,
    task: str,
    side: int,
    classes: Sequence[str],
    folder: Path,
    ids: Sequence[str] | None = None,
    none_below: float = 0.0,
) -> Model:
    """Write the description of a model into `folder`, and return it. `ids`: WordNet ids, one for each class."""
    with (folder / _LABELS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(zip(ids or [""] * len(classes), classes, strict=True))
    fields = {"task": task, "side": side, "none_below": none_below}
    (folder / _DESCRIPTION).write_text(json.dumps(fields) + "\n")
    return _model(name, fields, folder)


def describe_application(name: str, module: str, title: str, side: int, size: int, folder: Path) -> Model:
    """Write the description of `keras.applications.<title>`, whose weights have `size` bytes, and return it."""
    fields = {"task": "classify", "side": side, "keras": [module, title], "size": size}
    draft = folder / f".{_DESCRIPTION}"
    draft.write_text(json.dumps(fields) + "\n")
    draft.replace(folder / _DESCRIPTION)
    return _model(name, fields, folder)


def find(name: str, cache_dir: Path) -> Model | None:
    """The model that the cache describes under that name, or None."""
    if not is_name(name):
        return None
    folder = cache_dir / "models" / name
    try:
        return _model(name, json.loads((folder / _DESCRIPTION).read_text()), folder)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def names(cache_dir: Path) -> list[str]:
    """The names of the models that the cache describes."""
    return sorted(file.parent.name for file in (cache_dir / "models").glob(f"[!.]*/{_DESCRIPTION}"))


def preprocess_input(pixels: Any) -> Any:
    """Return the pixels unchanged, because the net preprocesses them. `Model.keras` needs such a function."""
    return pixels


def _model(name: str, fields: dict[str, Any], folder: Path) -> Model:
    task, side = str(fields["task"]), int(fields["side"])
    if "keras" in fields:
        module, title = fields["keras"]
        source = KerasDownload(title, int(fields["size"]), "Keras' own: see its page on applications")
        return Model(name, title, task, side, (source,), "imagenet.csv", (module, title))
    labels = str((folder / _LABELS).resolve())
    below = float(fields.get("none_below", 0.0))
    return Model(name, name, task, side, (), labels, (__name__, ""), none_below=below)
