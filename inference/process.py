"""Labels images: `Recogniser` for workers, and `process(recogniser, job, payload) -> Result` for venues."""

from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import numpy as np
from PIL import Image

from inference import engines, images, store, tasks
from inference.answer import Answer, Decoded, Outputs
from inference.arithmetic import FLOAT32, choose
from inference.engines import Engine, Loaded
from shoal.errors import BadImage, Permanent, ShoalError
from shoal.messages import Job, Result

log = logging.getLogger(__name__)


class _Served:
    """A model that is loaded when it is first needed."""

    def __init__(self, artefact: store.Artefact, engine: Engine, threads: int | None) -> None:
        self.artefact = artefact
        self.model = artefact.model
        self.version = artefact.card.version
        self.task = tasks.by_name(artefact.model.task)
        self._engine = engine
        self._threads = threads
        self._loaded: Loaded | None = None
        self._lock = threading.Lock()

    @property
    def loaded(self) -> Loaded:
        with self._lock:
            if self._loaded is None:
                folder, precision = self.artefact.folder, self.artefact.precision
                self._loaded = self._engine.load(self.model, folder, self._threads, precision)
            return self._loaded

    @property
    def batch(self) -> int:
        return self._loaded.batch if self._loaded else 1


class Recogniser:
    """The models of a worker. Many threads may call `decode` and `infer` at the same time.

    models:     the names of the models, the default first.
    precisions: the arithmetic of each of them.
    notices:    for people, one for each model that is replaced by its stand-in.

    In every method the empty name means the default model.
    """

    def __init__(self, served: dict[str, _Served], max_pixels: int, max_bytes: int) -> None:
        self.models = tuple(served)
        self.precisions = tuple(one.artefact.precision for one in served.values())
        self.notices = tuple(one.artefact.notice for one in served.values() if one.artefact.notice)
        self._served = {"": served[self.models[0]]} | {one.model.name: one for one in served.values()} | served
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes

    def serves(self, model: str) -> bool:
        """Whether this recogniser has `model`."""
        return model in self._served

    def resolve(self, model: str) -> str:
        """The name of the model that answers for `model`: its own, or that of its stand-in."""
        return self._served[model].model.name

    def version(self, model: str) -> str:
        """The version of the model's files, see `inference.store.Card`."""
        return self._served[model].version

    def engine(self, model: str) -> str:
        """The name of the engine that runs the model."""
        return self._served[model].artefact.engine

    def arithmetic(self, model: str) -> str:
        """In which the model is computed: float32, bfloat16 or int8."""
        return self._served[model].artefact.precision

    def batch(self, model: str) -> int:
        """The number of images with which a call of `infer` is fastest; 1 until the model is loaded."""
        return self._served[model].batch

    def decode(self, model: str, payload: bytes) -> Decoded:
        """Turn an image's bytes into the model's input. Raises BadImage."""
        images.check_size(payload, self._max_bytes)
        served = self._served[model]
        return served.task.decode(served.model, payload, self._max_pixels)

    def warm_up(self, model: str = "") -> None:
        """Decode and label a blank image, so that the first photo is about 0.05 s faster."""
        blank = io.BytesIO()
        Image.new("RGB", (64, 64)).save(blank, "JPEG")
        self.infer(model, [self.decode(model, blank.getvalue())])

    def infer(self, model: str, decoded: Sequence[Decoded]) -> list[Answer]:
        """The model's answer for each image that `decode` opened, computed in one batch."""
        if not decoded:
            return []
        served = self._served[model]
        batch = np.concatenate([one.tensor for one in decoded])
        outputs = served.loaded.infer(batch) if len(batch) else ()
        ends = np.cumsum([len(one.tensor) for one in decoded])
        return [
            served.task.read(served.model, _rows(outputs, int(end) - len(one.tensor), int(end)), one)
            for one, end in zip(decoded, ends, strict=True)
        ]


def _rows(outputs: Outputs, start: int, end: int) -> Outputs:
    return tuple(output[start:end] for output in outputs)


def load(
    models: Sequence[str],
    engine: str,
    cache_dir: Path,
    weights: Path | None,
    max_pixels: int,
    max_bytes: int,
    threads: int | None = None,
    precision: str = "auto",
) -> Recogniser:
    """Find prepared models and load the first; the others are loaded at their first use.

    engine:    runs the models that name no engine of their own.
    weights:   the user's file of weights for the first model, or None.
    precision: "float32", "int8", or "auto" for the arithmetic that was chosen on this kind of CPU, see `store.find`.

    Raises NotFound if a model is not in the cache, SettingsError for unknown names.
    """
    found = _find(models, engine, cache_dir, weights, precision)
    served = {name: _Served(one, engines.by_name(one.engine), threads) for name, one in found.items()}
    _ = served[models[0]].loaded
    return Recogniser(served, max_pixels, max_bytes)


def _find(
    models: Sequence[str], engine: str, cache_dir: Path, weights: Path | None, precision: str
) -> dict[str, store.Artefact]:
    engines.by_name(engine)  # reports a wrong name before a model is looked for
    return {
        name: store.find(name, engine, cache_dir, weights if name == models[0] else None, precision) for name in models
    }


class RecogniserSettings(Protocol):
    """The settings of a recogniser; `shoal.settings.Settings` has them."""

    @property
    def model(self) -> str: ...
    @property
    def served_models(self) -> Sequence[str]: ...
    @property
    def served_tails(self) -> Sequence[str]: ...
    @property
    def engine(self) -> str: ...
    @property
    def cache_dir(self) -> Path: ...
    @property
    def model_weights(self) -> Path | None: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def max_file_bytes(self) -> int: ...
    @property
    def precision(self) -> str: ...


def load_as_set(settings: RecogniserSettings, threads: int | None = None) -> Recogniser:
    """`load`, by the settings. threads: of the engine, which chooses when it is None."""
    return load(
        _models(settings),
        settings.engine,
        settings.cache_dir,
        settings.model_weights,
        max_pixels=settings.max_pixels,
        max_bytes=settings.max_file_bytes,
        threads=threads,
        precision=settings.precision,
    )


def check_as_set(settings: RecogniserSettings) -> None:
    """Look for the models of the settings and load none. Raises what `load` raises for one that is not there."""
    _find(_models(settings), settings.engine, settings.cache_dir, settings.model_weights, settings.precision)


def _models(settings: RecogniserSettings) -> tuple[str, ...]:
    return (*settings.served_models, *settings.served_tails)


def without_converter() -> None:
    """Import OpenVINO without its converter, in two thirds of the time. For a process that converts no models."""
    sys.modules.setdefault("openvino.tools.ovc", cast(ModuleType, None))


def choose_as_set(settings: RecogniserSettings) -> bool:
    """`choose_here` for each served model, where the settings leave the choice open. Returns whether it chose one.

    A model whose arithmetic cannot be chosen is named in the log.
    """
    chosen = False
    for name in settings.served_models if settings.precision == "auto" else ():
        weights = settings.model_weights if name == settings.model else None
        try:
            chosen |= choose_here(name, settings.engine, settings.cache_dir, weights)
        except ShoalError as error:
            log.warning("the arithmetic of %s is not chosen for this CPU: %s", name, error)
    return chosen


def choose_here(name: str, engine: str, cache_dir: Path, weights: Path | None) -> bool:
    """Choose a prepared model's arithmetic on this CPU, if it was chosen on other kinds only. Returns whether it did.

    It takes a few seconds. Only what was compared with float32 where the model was prepared can be chosen. Raises
    NotFound if the model is not in the cache, Permanent if the cache cannot be written.
    """
    found = store.find(name, engine, cache_dir, weights)
    known, home = found.measured, found.folder.parent
    if known is None or known.here() is not None:
        return False
    runner = engines.by_name(found.engine)
    compared = [one for one in runner.precisions() if one == FLOAT32 or one in known.agreement]
    folders = {one: home / store.folder(found.engine, one) for one in compared}
    ready = {one: folder for one, folder in folders.items() if store.ready(folder, weights)}
    if FLOAT32 not in ready:
        return False
    loaded = {one: runner.load(found.model, folder, precision=one) for one, folder in ready.items()}
    grey = np.full((1, found.model.side, found.model.side, 3), 128, np.uint8)
    rates = engines.images_per_second(loaded, grey)
    try:
        known.with_here(choose(rates, known.agreement).precision, rates).write(home, found.engine)
    except OSError as error:
        raise Permanent(f"what was measured cannot be kept in {home} ({error.strerror})") from error
    return True


def process(recogniser: Recogniser, job: Job, payload: bytes) -> Result:
    """Label one image. A bad image or an unknown model gives a failed result that says why."""
    if not recogniser.serves(job.model):
        available = f"{', '.join(recogniser.models)} {'is' if len(recogniser.models) == 1 else 'are'}"
        return Result.failed(job.key, f"the model {job.model} is not available here; {available}")
    start = time.perf_counter()
    try:
        decoded = recogniser.decode(job.model, payload)
    except BadImage as error:
        return Result.failed(job.key, str(error), bad_photo=True)
    opened = time.perf_counter()
    answer = recogniser.infer(job.model, [decoded])[0]
    return done(recogniser, job, answer, {"decode": opened - start, "infer": time.perf_counter() - opened})


def done(recogniser: Recogniser, job: Job, answer: Answer, seconds: dict[str, float], worker: str = "") -> Result:
    """The result of a job that was answered. seconds: stage -> seconds; told with 4 digits, as in the pool."""
    return Result(
        job.key,
        "done",
        answer.labels,
        model=recogniser.resolve(job.model),
        engine=recogniser.engine(job.model),
        worker=worker,
        seconds={stage: round(spent, 4) for stage, spent in seconds.items()},
        detections=answer.detections,
        warnings=answer.warnings,
        model_version=recogniser.version(job.model),
        arithmetic=recogniser.arithmetic(job.model),
    )
