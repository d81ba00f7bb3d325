"""What runs a model, one file an engine. Each file has an `ENGINE`, which fulfils Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.model import Model
from shoal import plugins


class Loaded(Protocol):
    """A model in an engine's hands. Used from one thread at a time."""

    def infer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities [N, classes] of RGB images [N, side, side, 3], 0 to 255; N may differ from call to call."""


class Engine(Protocol):
    """A way to run models."""

    def convert(self, model: Model, net: Any, folder: Path) -> None:
        """Write all that `load` needs into the empty `folder`. `net` is the stock Keras model with its weights.

        Runs once, where TensorFlow is.
        """

    def load(self, model: Model, folder: Path, threads: int | None = None, exact: bool = False) -> Loaded:
        """Load what `convert` wrote. Runs in every process that infers, and has to be quick.

        threads: None leaves their number to the engine.
        exact:   compute in float32 where the engine would choose a shorter type by itself.
        """


def by_name(name: str) -> Engine:
    """The engine of that name, or the one that "module:attribute" names. Raises SettingsError, which lists them."""
    engine: Engine = plugins.load(name, "inference.engines", "ENGINE")
    return engine
