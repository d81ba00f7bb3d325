"""What runs a model, one file an engine. Each file has an `ENGINE`, which fulfils Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from inference.answer import Outputs
from inference.model import Model
from shoal import plugins


class Loaded(Protocol):
    """A model in an engine's hands. Used from many threads at a time.

    batch: how many images a call shall have where there are enough: with more an image takes no less time.
    """

    batch: int

    def infer(self, batch: NDArray[Any]) -> Outputs:
        """Every output of the model, each [N, ...], for [N, ...] of its input: of most, RGB [N, side, side, 3] of 0 to
        255 in and probabilities [N, classes] out. N differs from call to call and is never 0."""


class Engine(Protocol):
    """A way to run models."""

    def convert(self, net: Any, folder: Path) -> None:
        """Write the files that `load` needs into the empty `folder`. Runs once, where TensorFlow is installed.

        net: a Keras net, or the path of an ONNX file, with its preprocessing inside: uint8 RGB [N, side, side, 3] in.
        """

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:
        """Write what `convert` wrote into `folder` to the empty `target`, in 8-bit integers calibrated on `rows`, each
        [side, side, 3]. Runs once, without TensorFlow. Raises Permanent when this engine cannot."""

    def load(self, model: Model, folder: Path, threads: int | None = None, exact: bool = False) -> Loaded:
        """Load what `convert` wrote. Runs in every process that infers, and has to be quick.

        threads: None leaves their number to the engine.
        exact:   compute in float32 where the engine would choose a shorter type by itself.
        """


def by_name(name: str) -> Engine:
    """The engine of that name, or the one that "module:attribute" names. Raises SettingsError, which lists them."""
    engine: Engine = plugins.load(name, "inference.engines", "ENGINE")
    return engine
