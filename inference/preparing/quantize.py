"""Converts a classifier to int8 and compares it with float32 on photos that were not used to calibrate.

`quantize` starts `python -m inference.preparing.quantize <request>`, because NNCF needs much memory and prints a lot.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import engines, store, tasks
from inference.arithmetic import FLOAT32, INT8
from inference.engines import Loaded
from inference.preparing import photos, subprocess_task
from inference.preparing.prepare import locked
from inference.preparing.sources import Say
from inference.store import Artefact
from shoal.errors import Permanent

CALIBRATION_PHOTOS = 60
LEAST_HELD_OUT = 100
LEAST_AGREEMENT = 0.97
LEAST_GAIN = 1.1  # relative to the images/s of float32: below it, int8 loses accuracy for no gain

_MANY = 1 << 40  # pixels: these photos need no limit
_BATCH = 8
_ROUNDS = 5
_PACKAGES = ("nncf", "openvino", "numpy")


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """The request to the child process: write int8 into the empty folder `target` from the float32 in `folder`."""

    model: str
    engine: str
    cache: str
    folder: str
    target: str
    calibration: list[str]
    held_out: list[str]


def quantize(
    model: str, engine: str, cache_dir: Path, weights: Path | None, own_photos: Path | None, say: Say
) -> Artefact:
    """Convert the prepared model to int8 for the engine. Later calls of `store.find` return it.

    own_photos: a folder of at least CALIBRATION_PHOTOS + LEAST_HELD_OUT photos like those that the model will label.
                Use it for a model whose classes are not ImageNet's. None calibrates on one of the two sources of
                `inference.preparing.photos` and compares on the other.

    Raises Permanent if int8 gives the label of float32 for less than LEAST_AGREEMENT of the photos, or if it is less
    than LEAST_GAIN times as fast on this CPU. Then nothing is put in place, and float32 stays in use.
    """
    exact = store.find(model, engine, cache_dir, weights, FLOAT32)
    if exact.model.task != "classify":
        raise Permanent(f"{exact.model.title} is no classifier: it stays in float32")
    calibration, held_out = _photos(own_photos, cache_dir, say)
    home = exact.folder.parent
    with locked(home, say):
        scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home))
        try:
            target = scratch / INT8
            target.mkdir()
            request = QuantizeRequest(
                exact.model.name, engine, str(cache_dir.resolve()), str(exact.folder), str(target), _texts(calibration),
                _texts(held_out),
            )  # fmt: skip
            measured = subprocess_task.ask(
                "inference.preparing.quantize", json.dumps(asdict(request)), lambda fields: say(fields["say"])
            )
            _judge(exact.model.title, measured)
            source = (photos.CALIBRATION, photos.HELD_OUT) if own_photos is None else (str(own_photos),) * 2
            measured |= dict(zip(("calibration_from", "held_out_from"), source, strict=True))
            _write_card(exact.card, target, measured)
            store.put_in_place(target, home / store.folder(engine, INT8))
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return store.find(model, engine, cache_dir, weights, INT8)


def _photos(folder: Path | None, cache_dir: Path, say: Say) -> tuple[list[Path], list[Path]]:
    """The photos to calibrate on, and the photos to compare on."""
    if folder is None:
        say("fetching photos to calibrate with")
        return photos.fetch_two_sources(cache_dir)
    endings = (".jpg", ".jpeg", ".png")
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in endings and path.is_file()]
    needed = CALIBRATION_PHOTOS + LEAST_HELD_OUT
    if len(found) < needed:
        raise Permanent(f"{folder} has {len(found)} photos (.jpg, .jpeg, .png); {needed} are needed")
    return photos.divide(found, CALIBRATION_PHOTOS)


def _judge(title: str, measured: dict[str, Any]) -> None:
    if measured["top1"] < LEAST_AGREEMENT:
        raise Permanent(
            f"{title} in int8 gives the label of float32 for {measured['top1']:.1%} of {measured['held_out']} photos; "
            f"{LEAST_AGREEMENT:.0%} are needed: float32 stays in use"
        )
    speed = measured["images_per_second"]
    if speed[INT8] < LEAST_GAIN * speed[FLOAT32]:
        raise Permanent(
            f"{title} in int8 does {speed[INT8]:.0f} images/s on this CPU, {speed[FLOAT32]:.0f} in float32: float32 "
            "stays in use"
        )


def _write_card(exact: store.Card, target: Path, measured: dict[str, Any]) -> None:
    store.Card(
        model=exact.model,
        engine=exact.engine,
        source=exact.source,
        checksum=exact.checksum,
        licence=exact.licence,
        files=store.describe(target),
        versions={name: importlib.metadata.version(name) for name in _PACKAGES},
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        own_file=exact.own_file,
        precision=INT8,
        quantized=measured,
    ).write(target)


def _work(asked: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    request = QuantizeRequest(**json.loads(asked))
    model = store.model(request.model, Path(request.cache))
    engine = engines.by_name(request.engine)
    folder, target = Path(request.folder), Path(request.target)
    task = tasks.by_name(model.task)

    def rows(paths: Sequence[str]) -> NDArray[np.uint8]:
        return np.concatenate([task.decode(model, Path(path).read_bytes(), _MANY).tensor for path in paths])

    tell(say=f"calibrating {model.title} on {len(request.calibration)} photos")
    engine.quantize(model, folder, list(rows(request.calibration)), target)
    tell(say=f"comparing it with float32 on {len(request.held_out)} other photos")
    held_out = both_ways(rows(request.held_out))
    exact, quantized = engine.load(model, folder, exact=True), engine.load(model, target)
    return {
        "calibration": len(request.calibration),
        "held_out": len(request.held_out),
        **agreement(infer_all(exact, held_out), infer_all(quantized, held_out)),
        "images_per_second": speed({FLOAT32: engine.load(model, folder), INT8: quantized}, held_out[:_BATCH]),
        "cpu": cpu(),
    }


def both_ways(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pictures [N, height, width, 3], followed by their mirror images."""
    return np.concatenate([rows, rows[:, :, ::-1]])


def infer_all(loaded: Loaded, rows: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probabilities [N, classes] of any number of pictures, computed in batches."""
    return np.concatenate([loaded.infer(rows[at : at + _BATCH])[0] for at in range(0, len(rows), _BATCH)])


def agreement(right: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
    """Compare probabilities [N, classes] with the right ones.

    Returns {"top1": share with the same best label, "top5": share whose right label is among the best five,
    "probability": mean absolute error of the right label's probability}.
    """
    best = right.argmax(axis=1)
    five = np.argsort(-found, axis=1)[:, :5]
    off = np.abs(np.take_along_axis(right - found, best[:, np.newaxis], axis=1))
    return {
        "top1": round(float((found.argmax(axis=1) == best).mean()), 4),
        "top5": round(float((five == best[:, np.newaxis]).any(axis=1).mean()), 4),
        "probability": round(float(off.mean()), 4),
    }


def speed(loaded: dict[str, Loaded], batch: NDArray[np.uint8]) -> dict[str, float]:
    """Median images/s of each model. The models take turns, so a busy machine slows all of them equally."""
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    for name in [*loaded] * (1 + _ROUNDS):
        began = time.perf_counter()
        loaded[name].infer(batch)
        seconds[name].append(time.perf_counter() - began)
    return {name: round(len(batch) / statistics.median(found[1:]), 1) for name, found in seconds.items()}


def cpu() -> str:
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _texts(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]


if __name__ == "__main__":
    subprocess_task.answer(_work)
