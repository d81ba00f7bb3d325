"""The engines that run models, a file each. Each file has an `ENGINE` with the methods of Engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from inference.answer import Outputs
from inference.model import Model
from shoal import plugins


class Loaded(Protocol):
    """A loaded model. Many threads use it at the same time.

    batch: the number of images with which a call is fastest; a larger batch takes as long per image.
    """

    batch: int

    def infer(self, batch: NDArray[Any]) -> Outputs:
        """Compute every output of the model, each [N, ...], for its input [N, ...].

        For most models the input is RGB [N, side, side, 3] of 0 to 255 and the output is probabilities [N, classes].
        N may differ from call to call and is never 0.
        """


class Engine(Protocol):
    """Converts, quantizes and loads models."""

    def convert(self, net: Any, folder: Path) -> None:
        """Write the files that `load` needs into the empty `folder`. Runs once, where TensorFlow is installed.

        net: a Keras net, or the path of an ONNX file, with its preprocessing inside: uint8 RGB [N, side, side, 3] in.
        """

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:
        """Write the model that `convert` wrote into `folder` to the empty folder `target` in 8-bit integers.

        rows: the pictures [side, side, 3] to calibrate on.

        Runs once, without TensorFlow. Raises Permanent if this engine cannot do it.
        """

    def load(self, model: Model, folder: Path, threads: int | None = None, exact: bool = False) -> Loaded:
        """Load what `convert` wrote. Every process that infers calls it, so it must be fast.

        threads: their number; None leaves it to the engine.
        exact:   compute in float32, even if the engine would choose a shorter type.
        """


def by_name(name: str) -> Engine:
    """The engine of that name, or of "module:attribute". Raises SettingsError, which lists the names."""
    engine: Engine = plugins.load(name, "inference.engines", "ENGINE")
    return engine
