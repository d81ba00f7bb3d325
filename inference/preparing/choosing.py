"""Chooses the arithmetic of a prepared model on this machine, and makes int8 for it.

It starts `python -m inference.preparing.choosing <request>`, because NNCF needs much memory and prints a lot.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import arithmetic, engines, store
from inference.answer import Decoded, Outputs
from inference.arithmetic import FLOAT32, INT8, Agreement, Choice
from inference.engines import Loaded
from inference.measured import Measurements
from inference.model import Model
from inference.preparing import agreement, photos, subprocess_task
from inference.preparing.agreement import ArithmeticsCompared
from inference.preparing.prepare import locked
from inference.preparing.sources import Say
from inference.store import Artefact
from shoal.errors import Permanent, ShoalError

CALIBRATION_PHOTOS = 20  # 60 agree no better and take 15 s more of a core: docs/models.md

_MIRROR_PARTS = 3  # in which the mirror images are compared
_FEW = 8  # photos on which the images/s are measured when nothing is compared
_PACKAGES = ("nncf", "openvino", "numpy")


@dataclass(frozen=True, slots=True)
class PhotoSets:
    """The photos to calibrate int8 on, and those to compare each arithmetic with float32 on, with their origins."""

    calibration: Sequence[Path]
    held_out: Sequence[Path]
    calibration_from: str = ""
    held_out_from: str = ""


@dataclass(frozen=True, slots=True)
class MeasureRequest:
    """The request to the child process.

    precisions: the arithmetics to measure, float32 first.
    folder:     the artefact in float32.
    int8:       the artefact in int8; an empty folder if there are photos to calibrate it on.
    held_out:   the photos to compare on.
    """

    model: str
    engine: str
    cache: str
    precisions: list[str]
    folder: str
    int8: str
    calibration: list[str]
    held_out: list[str]


def choose(
    model: str, engine: str, cache_dir: Path, weights: Path | None, examples: Sequence[Path], say: Say, again: bool
) -> Artefact:
    """Choose the arithmetic of a prepared model on this kind of CPU. Returns the artefact that workers take then.

    examples: the bundled photos.
    again:    choose again. Otherwise a choice stands, unless photos were missing.

    int8 is made if the model's classes are ImageNet's, because the photos to calibrate on are like ImageNet's. Without
    them, or if int8 cannot be made, the choice is float32. Raises NotFound if the model was not prepared, Permanent if
    the cache cannot be written.
    """
    exact = store.find(model, engine, cache_dir, weights, FLOAT32)
    if again or not _stands(exact):
        with locked(exact.folder.parent, say):
            if again or not _stands(exact):  # another process may have chosen meanwhile
                _choose(exact, cache_dir, weights, examples, again, say)
                _compile(store.find(model, engine, cache_dir, weights))
    return store.find(model, engine, cache_dir, weights)


def quantize(
    model: str, engine: str, cache_dir: Path, weights: Path | None, own_photos: Path | None, say: Say
) -> Artefact:
    """Make int8 of a prepared model, and choose the arithmetic again.

    own_photos: a folder of at least CALIBRATION_PHOTOS + LEAST_PHOTOS photos like those that the model will label.
                Use it for a model whose classes are not ImageNet's. None calibrates on one of the two sources of
                `inference.preparing.photos` and compares on the other.

    Raises Permanent if int8 is refused, see `inference.arithmetic`. Then float32 stays in use.
    """
    exact = store.find(model, engine, cache_dir, weights, FLOAT32)
    if exact.model.task != "classify":
        raise Permanent(f"{exact.model.title} is no classifier: it stays in float32")
    wanted = _ordered(exact.engine, int8=True)
    if INT8 not in wanted:
        raise Permanent(f"{exact.engine} has no int8: SHOAL_ENGINE=openvino has it")
    sets = _own_photos(own_photos) if own_photos else _fetched(cache_dir, (), say)
    with locked(exact.folder.parent, say):
        choice = _measure(exact, cache_dir, wanted, sets, {}, say)
    if INT8 in choice.refused:
        raise Permanent(f"{exact.model.title}: {choice.refused[INT8]}; {choice.precision} stays in use")
    return store.find(model, engine, cache_dir, weights, INT8)


def _compile(artefact: Artefact) -> None:
    """Load the artefact once: the engine keeps its compiled form, so the first worker starts as fast as the others."""
    engines.by_name(artefact.engine).load(artefact.model, artefact.folder, precision=artefact.precision)


def _stands(exact: Artefact) -> bool:
    known = exact.measured
    return known is not None and known.here() is not None and not known.missing


def _choose(
    exact: Artefact, cache_dir: Path, weights: Path | None, examples: Sequence[Path], again: bool, say: Say
) -> None:
    made = store.ready(exact.folder.parent / store.folder(exact.engine, INT8), weights) is not None
    for_imagenet = exact.model.task == "classify" and exact.model.labels == "imagenet.csv"
    wanted = _ordered(exact.engine, int8=made or for_imagenet)
    alone = PhotoSets((), examples)
    if wanted == [FLOAT32]:
        _measure(exact, cache_dir, wanted, alone, {}, say)
        return
    try:
        sets = _fetched(cache_dir, examples, say)
        if INT8 not in wanted or (made and not (again and for_imagenet)):
            sets = PhotoSets((), sets.held_out)
        _measure(exact, cache_dir, wanted, sets, {}, say)
    except ShoalError as error:
        _measure(exact, cache_dir, [FLOAT32], alone, {name: str(error) for name in wanted[1:]}, say)


def _ordered(engine: str, int8: bool) -> list[str]:
    """The arithmetics of an engine on this CPU, float32 first, with int8 or without it."""
    return [name for name in engines.by_name(engine).precisions() if int8 or name != INT8]


def _fetched(cache_dir: Path, examples: Sequence[Path], say: Say) -> PhotoSets:
    say("fetching photos to calibrate and to compare with")
    calibration, held_out = photos.fetch_two_sources(cache_dir)
    return PhotoSets(_spread(calibration), [*held_out, *examples], photos.CALIBRATION, photos.HELD_OUT)


def _spread(found: Sequence[Path]) -> Sequence[Path]:
    """CALIBRATION_PHOTOS of the photos, from all their folders."""
    return found[:: max(1, len(found) // CALIBRATION_PHOTOS)][:CALIBRATION_PHOTOS]


def _own_photos(folder: Path) -> PhotoSets:
    endings = (".jpg", ".jpeg", ".png")
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in endings and path.is_file()]
    needed = CALIBRATION_PHOTOS + arithmetic.LEAST_PHOTOS
    if len(found) < needed:
        raise Permanent(f"{folder} has {len(found)} photos (.jpg, .jpeg, .png); {needed} are needed")
    return PhotoSets(*photos.divide(found, CALIBRATION_PHOTOS), str(folder), str(folder))


def _measure(
    exact: Artefact, cache_dir: Path, precisions: list[str], sets: PhotoSets, missing: dict[str, str], say: Say
) -> Choice:
    """Measure in a child process, choose, and keep the measurements and int8, if it agrees well enough.

    The caller holds the lock of the model's folder.
    """
    home = exact.folder.parent
    ready = home / store.folder(exact.engine, INT8)
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home))
    try:
        made = scratch / INT8
        made.mkdir()
        request = MeasureRequest(
            exact.model.name, exact.engine, str(cache_dir.resolve()), precisions, str(exact.folder),
            str(made if sets.calibration else ready), _texts(sets.calibration), _texts(sets.held_out),
        )  # fmt: skip
        found = subprocess_task.ask(
            "inference.preparing.choosing", json.dumps(asdict(request)), lambda fields: say(fields["say"])
        )
        agreements = {name: Agreement(**one) for name, one in found["agreement"].items()}
        choice = arithmetic.choose(found["images_per_second"], agreements)
        if sets.calibration and agreements[INT8].passes:
            _write_card(exact.card, made, found["int8"] | _origins(sets))
            store.put_in_place(made, ready)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    before = exact.measured
    kept = Measurements(exact.card.checksum, agreements, missing, before.on_cpu if before else {})
    kept.with_here(choice.precision, found["images_per_second"]).write(home, exact.engine)
    return choice


def _origins(sets: PhotoSets) -> dict[str, Any]:
    return {
        "calibration": len(sets.calibration),
        "calibration_from": sets.calibration_from,
        "held_out": len(sets.held_out),
        "held_out_from": sets.held_out_from,
    }


def _write_card(exact: store.Card, target: Path, quantized: dict[str, Any]) -> None:
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
        quantized=quantized,
    ).write(target)


def _work(asked: str, tell: subprocess_task.Tell) -> dict[str, Any]:
    request = MeasureRequest(**json.loads(asked))
    model = store.model(request.model, Path(request.cache))
    engine = engines.by_name(request.engine)
    folder, int8 = Path(request.folder), Path(request.int8)
    if request.calibration:
        tell(say=f"making int8 of {model.title}, calibrated on {len(request.calibration)} photos")
        rows = [one.tensor for one in agreement.decoded(model, _paths(request.calibration))]
        engine.quantize(model, folder, list(np.concatenate(rows)), int8)
    loaded = {name: engine.load(model, int8 if name == INT8 else folder, precision=name) for name in request.precisions}
    tell(say=f"measuring {_listed(request.precisions)} on {len(request.held_out)} other photos")
    opened = agreement.decoded(model, _paths(request.held_out))
    seen = looks(model, loaded, opened, tell)
    rates = seen[0].images_per_second if seen else {}
    return {
        "images_per_second": rates or engines.images_per_second(loaded, _rows(model, opened)),
        "agreement": {name: asdict(found) for name, found in summed(seen).items()},
        "int8": closeness_of_int8(seen),
    }


def looks(
    model: Model, loaded: Mapping[str, Loaded], opened: Sequence[Decoded], tell: subprocess_task.Tell
) -> list[ArithmeticsCompared]:
    """Compare the arithmetics on the photos, then on their mirror images those for which the photos do not settle it.

    An arithmetic that keeps the label of LEAST_AGREEMENT of the photos passes, and one that is refused needs no more
    evidence. In between some of the mirror images are seen, too, until they settle it or all are seen: all of them cost
    as much time as the photos. One that is too slow to be chosen is not looked at again.
    """
    if len(loaded) == 1:
        return []
    seen = [agreement.compare(model, loaded, opened)]
    for part in range(_MIRROR_PARTS):
        found = summed(seen)
        if not (unsettled := arithmetic.unsettled(seen[0].images_per_second, found)):
            break
        if part == 0:
            tell(say=f"comparing {_listed([FLOAT32, *unsettled])} on their mirror images as well")
        some = {name: loaded[name] for name in (FLOAT32, *unsettled)}
        seen.append(agreement.compare(model, some, agreement.mirrored(opened[part::_MIRROR_PARTS])))
    return seen


def summed(seen: Sequence[ArithmeticsCompared]) -> dict[str, Agreement]:
    """The agreement of each arithmetic on all pictures that it was compared on."""
    found: dict[str, Agreement] = {}
    for look in seen:
        for name, one in look.agreement.items():
            found[name] = found.get(name, Agreement(0, 0)) + one
    return found


def closeness_of_int8(seen: Sequence[ArithmeticsCompared]) -> dict[str, float]:
    """How close the probabilities of int8 are to those of float32; empty if it was not compared."""
    both = [look.outputs for look in seen if look.outputs.get(INT8)]
    if not both:
        return {}
    exact, found = (np.concatenate([_first(outputs[name]) for outputs in both]) for name in (FLOAT32, INT8))
    return closeness(exact, found)


def _rows(model: Model, opened: Sequence[Decoded]) -> NDArray[np.uint8]:
    """Some input to measure the speed with: that of the photos, or grey if the task finds nothing in them."""
    if opened:
        return np.concatenate([one.tensor for one in opened[:_FEW]])
    return np.full((1, model.side, model.side, 3), 128, np.uint8)


def _first(answers: Sequence[Outputs]) -> NDArray[np.float32]:
    return np.concatenate([one[0] for one in answers])


def closeness(right: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
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


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _paths(texts: Sequence[str]) -> list[Path]:
    return [Path(text) for text in texts]


def _texts(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]


if __name__ == "__main__":
    subprocess_task.answer(_work)
