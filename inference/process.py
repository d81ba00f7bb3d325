"""The one function that every venue calls: `process(recogniser, job, payload) -> Result`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inference import engines, images, store
from inference.engines import Loaded
from shoal import plugins
from shoal.errors import BadImage
from shoal.messages import Job, Label, Result


class Recogniser:
    """A model, loaded. `decode` may be called from many threads at once, `infer` from one at a time.

    model, engine: the names of what labels.
    asked_for:     the model that was asked for; another one than `model` when that one stands in for it.
    notice:        for people, in that case; else empty.
    """

    def __init__(
        self, artefact: store.Artefact, loaded: Loaded, asked_for: str, max_pixels: int, max_bytes: int
    ) -> None:
        self.model = artefact.model.name
        self.engine = artefact.engine
        self.asked_for = asked_for
        self.notice = artefact.notice
        self._model = artefact.model
        self._decode = plugins.load(artefact.model.task, "inference.tasks", "decode")
        self._read = plugins.load(artefact.model.task, "inference.tasks", "read")
        self._loaded = loaded
        self._max_pixels = max_pixels
        self._max_bytes = max_bytes

    def serves(self, model: str) -> bool:
        """Whether a job that asks for `model` can be done here; a job that asks for none can."""
        return model in ("", self.model, self.asked_for)

    def decode(self, payload: bytes) -> NDArray[np.uint8]:
        """An image's bytes as the model's input, RGB [side, side, 3]. Raises BadImage."""
        images.check_size(payload, self._max_bytes)
        tensor: NDArray[np.uint8] = self._decode(self._model, payload, self._max_pixels)
        return tensor

    def infer(self, tensors: Sequence[NDArray[np.uint8]]) -> list[tuple[Label, ...]]:
        """The labels of each tensor that `decode` made, best first; all tensors in one batch."""
        if not tensors:
            return []
        return [self._read(self._model, scores) for scores in self._loaded.infer(np.stack(tensors))]


def load(
    model: str,
    engine: str,
    cache_dir: Path,
    weights: Path | None,
    max_pixels: int,
    max_bytes: int,
    threads: int | None = None,
) -> Recogniser:
    """Load a prepared model. Raises NotFound when it is not in the cache, SettingsError for unknown names."""
    chosen = engines.by_name(engine)
    artefact = store.find(model, engine, cache_dir, weights)
    loaded = chosen.load(artefact.model, artefact.folder, threads)
    return Recogniser(artefact, loaded, model, max_pixels, max_bytes)


def process(recogniser: Recogniser, job: Job, payload: bytes) -> Result:
    """Label one image. What is wrong with the image, or with the model that it asks for, is a failed result."""
    if not recogniser.serves(job.model):
        return Result.failed(job.key, f"the model {job.model} is not available here; {recogniser.model} is")
    start = time.perf_counter()
    try:
        tensor = recogniser.decode(payload)
    except BadImage as error:
        return Result.failed(job.key, str(error))
    decoded = time.perf_counter()
    labels = recogniser.infer([tensor])[0]
    seconds = {"decode": decoded - start, "infer": time.perf_counter() - decoded}
    return Result(job.key, "done", labels, model=recogniser.model, engine=recogniser.engine, seconds=seconds)
