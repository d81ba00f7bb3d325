"""Copies a user's classifier, a .keras, .h5 or .onnx file with its labels, into the cache.

`adopt` starts `python -m inference.preparing.adopt <request>`, because the work may need TensorFlow.
"""

from __future__ import annotations

import csv
import importlib.metadata
import io
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import keras_net, own, store, user_files
from inference.pixels import PIXELS, Pixels
from inference.preparing import architecture, onnx_graph, subprocess_task
from inference.preparing.prepare import locked
from inference.preparing.sources import Say
from shoal import plugins
from shoal.errors import Permanent

KERAS, ONNX = (".keras", ".h5", ".hdf5"), ".onnx"


@dataclass(frozen=True, slots=True)
class AdoptRequest:
    """The request to the child process: write the model in `file` into the empty folder `made`."""

    name: str
    file: str
    labels: list[tuple[str, str]]
    pixels: str
    made: str


def adopt(name: str, file: Path, labels: Path, pixels: str, cache_dir: Path, say: Say, replace: bool = False) -> None:
    """Put the model into the cache under `name`, with its preprocessing inside. `prepare` converts it for an engine.

    labels:  a file with a line for each class, in class order: its name, or its WordNet id, a comma and its name.
    pixels:  the model's pixel format, a key of PIXELS.
    replace: whether to replace a model of that name.

    Raises Permanent, whose text is one line. Code inside a .keras file is never run.
    """
    home = cache_dir / "models" / name
    _check(name, file, home, replace)
    rows = read_labels(labels)
    with locked(home, say):
        scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home.parent))
        try:
            made = scratch / "made"
            (made / store.WEIGHTS).mkdir(parents=True)
            request = AdoptRequest(name, str(file.resolve()), rows, pixels, str(made))
            subprocess_task.ask(
                "inference.preparing.adopt", json.dumps(asdict(request)), lambda fields: say(fields["say"])
            )
            store.put_in_place(made, home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            _remove_if_empty(home)


def _check(name: str, file: Path, home: Path, replace: bool) -> None:
    if not own.is_name(name):
        raise Permanent(
            f"{name!r} cannot be a model's name: up to 40 of a-z, 0-9, - and _, the first a letter or digit"
        )
    if name in plugins.available("inference.models"):
        raise Permanent(f"{name} is a model of Shoal's own: choose another name")
    if file.suffix.lower() not in (*KERAS, ONNX):
        raise Permanent(f"{file.name} is no model that can be taken in: {', '.join((*KERAS, ONNX))} can")
    try:
        with user_files.opened(file, user_files.MODEL_BYTES):
            pass  # only looked at: the child process reads it
    except OSError as error:
        raise Permanent(f"{file} cannot be read: {error.strerror}") from error
    if home.exists() and not replace:
        raise Permanent(f"there is a model {name} already: choose another name, or replace it (--replace)")


def _remove_if_empty(home: Path) -> None:
    if home.is_dir() and not any(home.iterdir()):
        home.rmdir()


def read_labels(path: Path) -> list[tuple[str, str]]:
    """(WordNet id or "", name) of every class in a labels file. Raises Permanent."""
    try:
        lines = io.StringIO(user_files.read(path, user_files.TEXT_BYTES).decode(), newline="")
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Permanent(f"{path} cannot be read as labels: {error}") from error
    wrong = next((row for row in rows if len(row) > 2 or not row[-1]), None)
    if wrong or not rows:
        raise Permanent(f"{path}: {wrong or 'nothing'} is not a name, or an id, a comma and a name")
    return [(row[0] if len(row) == 2 else "", row[-1]) for row in rows]


def _work(asked: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    request = AdoptRequest(**json.loads(asked))
    file, made = Path(request.file), Path(request.made)
    weights = made / store.WEIGHTS
    tell(say=f"opening {file.name}")
    classes = len(request.labels)
    take = _take_onnx if file.suffix.lower() == ONNX else _take_keras
    side = take(file, classes, PIXELS[request.pixels], weights)
    own.describe(
        request.name,
        "classify",
        side,
        [name for _, name in request.labels],
        made,
        [wordnet_id for wordnet_id, _ in request.labels],
    )
    store.Card(
        model=request.name,
        engine=store.WEIGHTS,
        source=request.file,
        checksum=f"sha256:{store.sha256(file)}",
        licence="the user's own",
        files=store.describe(weights),
        versions={name: importlib.metadata.version(name) for name in ("keras", "onnx", "numpy")},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
    ).write(weights)
    return {}


def _take_keras(file: Path, classes: int, pixels: Pixels, weights: Path) -> int:
    """Write the net with its preprocessing in front. Returns the side of its input."""
    net = keras_net.open_file(file)
    import keras

    side = _side(file, tuple(net.input_shape) if isinstance(net.input_shape, tuple) else (), channels=-1)
    _check_output(file, tuple(net.output_shape), classes)
    image = keras.Input((side, side, 3))
    x = image[..., ::-1] if pixels.bgr else image
    whole = keras.Model(image, net((x - pixels.mean) / pixels.scale))
    if not _are_probabilities(architecture.outputs(whole, _noise(side).astype(np.float32))[0]):
        whole = keras.Model(image, keras.layers.Softmax()(whole.output))
    whole.save(weights / own.NET)
    return side


def _take_onnx(file: Path, classes: int, pixels: Pixels, weights: Path) -> int:
    """Write the graph with its preprocessing in front. Returns the side of its input."""
    net = onnx_graph.read(file)
    given, taken = onnx_graph.ends(net, file.name)
    channels = 1 if len(given) == 4 and given[1] == 3 else -1
    side = _side(file, given, channels)
    _check_output(file, taken, classes)
    target = weights / own.ONNX
    onnx_graph.write(onnx_graph.behind_preprocessing(net, side, channels == 1, pixels), target)
    if not _are_probabilities(_run(file, target, side)):
        onnx_graph.write(onnx_graph.with_softmax(onnx_graph.read(target)), target)
        _run(file, target, side)
    return side


def _run(file: Path, target: Path, side: int) -> NDArray[np.float32]:
    try:
        return architecture.outputs(target, _noise(side))[0]
    except Exception as error:  # onnxruntime's classes have no common base
        raise Permanent(
            f"{file.name} cannot run on two images at once, export it with a free batch size: "
            f"{' '.join(str(error).split())[:200]}"
        ) from error


def _side(file: Path, shape: tuple[int | None, ...], channels: int) -> int:
    sides = {size for axis, size in enumerate(shape) if axis not in (0, channels % 4)}
    if len(shape) != 4 or shape[channels] != 3 or len(sides) != 1 or None in sides:
        raise Permanent(
            f"{file.name} takes {shape}; RGB pictures of one square size are needed, as (None, 224, 224, 3)"
        )
    return int(sides.pop() or 0)


def _check_output(file: Path, shape: tuple[int | None, ...], classes: int) -> None:
    if len(shape) != 2 or shape[1] != classes:
        raise Permanent(f"{file.name} gives {shape}, but there are {classes} labels: (None, {classes}) is needed")


def _noise(side: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)


def _are_probabilities(found: NDArray[np.float32]) -> bool:
    return bool(found.min() >= 0 and np.allclose(found.sum(axis=1), 1, atol=1e-3))


if __name__ == "__main__":
    subprocess_task.answer(_work)
