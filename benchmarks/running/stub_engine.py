"""An engine that waits and computes nothing: for runs that are about the controller and not about the model.

Everything else of a worker is real: its process, its pipeline, its messages, its beats, its end.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import model as models
from inference import store
from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from inference.model import Model

NAME = "benchmarks.running.stub_engine:ENGINE"
SECONDS = 0.25  # for each image


class _LoadedStub:
    batch = 8

    def infer(self, batch: NDArray[Any]) -> Outputs:
        time.sleep(SECONDS * len(batch))
        answers = np.zeros((len(batch), 1000), np.float32)
        answers[:, 0] = 1.0
        return (answers,)


class StubEngine:
    """See `inference.engines.Engine`."""

    def convert(self, net: Any, folder: Path) -> None:
        """Write nothing."""

    def precisions(self) -> tuple[str, ...]:
        """Return float32 alone."""
        return (FLOAT32,)

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:  # noqa: ARG002 - the protocol's signature
        """Return at once."""
        return _LoadedStub()


ENGINE = StubEngine()


def prepare(cache_dir: Path, engine: str = NAME) -> None:
    """Write what a worker looks for into a cache folder: a card, and no weights."""
    model = models.by_name("resnet50")
    folder = store.model_folder(model, cache_dir, None) / engine
    folder.mkdir(parents=True, exist_ok=True)
    store.Card(model.name, engine, "none", "", "", {}, {}, "2026-01-01T00:00:00+00:00").write(folder)
