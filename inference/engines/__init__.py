"""The engines that run models, a file each. Each file has an `ENGINE` with the methods of Engine."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.model import Model
from shoal import plugins

_ROUNDS = 9


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

    def precisions(self) -> tuple[str, ...]:
        """The arithmetics in which this engine computes on this CPU, float32 first; int8 if `quantize` makes it."""

    def convert(self, net: Any, folder: Path) -> None:
        """Write the files that `load` needs into the empty `folder`. Runs once, where TensorFlow is installed.

        net: a Keras net, or the path of an ONNX file, with its preprocessing inside: uint8 RGB [N, side, side, 3] in.
             For a model that names this engine, the folder with the files of its source.
        """

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:
        """Write the model that `convert` wrote into `folder` to the empty folder `target` in 8-bit integers.

        rows: the pictures [side, side, 3] to calibrate on.

        Runs once, without TensorFlow. Raises Permanent if this engine has no int8.
        """

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:
        """Load what `convert` or `quantize` wrote. Every process that infers calls it, so it must be fast.

        threads:   their number; None leaves it to the engine.
        precision: the arithmetic, a name of `precisions`; int8 for what `quantize` wrote, and for nothing else.
        """


def by_name(name: str) -> Engine:
    """The engine of that name, or of "module:attribute". Raises SettingsError, which lists the names."""
    engine: Engine = plugins.load(name, "inference.engines", "ENGINE")
    return engine


def images_per_second(loaded: Mapping[str, Loaded], images: NDArray[Any]) -> dict[str, float]:
    """The images/s of each model in its fastest call, with its best number of images.

    images: [N, side, side, 3]; they are repeated if a model takes more.

    The models take turns, and the fastest of several calls counts, because other work on the machine only slows them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in loaded}
    batches = {name: np.resize(images, (one.batch, *images.shape[1:])) for name, one in loaded.items()}
    for name in [*loaded] * (1 + _ROUNDS):
        began = time.perf_counter()
        loaded[name].infer(batches[name])
        seconds[name].append(time.perf_counter() - began)
    return {name: loaded[name].batch / min(found[1:]) for name, found in seconds.items()}
