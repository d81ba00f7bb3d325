"""Keras on TensorFlow: the reference that the other engines are checked against. Slow to start, large in memory."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from inference import keras_net
from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from inference.model import Model
from shoal.errors import Permanent

_FILE = "model.keras"


class Keras:
    """See `inference.engines.Engine`."""

    def precisions(self) -> tuple[str, ...]:
        """Return float32 alone."""
        return (FLOAT32,)

    def convert(self, net: Any, folder: Path) -> None:
        """Write the net as a .keras file. Raises Permanent for an ONNX file."""
        if isinstance(net, Path):
            raise Permanent("Keras cannot run an ONNX file: set SHOAL_ENGINE to another one")
        net.save(folder / _FILE)

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:  # noqa: ARG002
        """Raise Permanent: this engine has no int8."""
        raise Permanent(f"keras runs {model.name} in float32 only: SHOAL_ENGINE=openvino can run it in int8")

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:  # noqa: ARG002
        """Load the net, which always computes in float32. Raises Permanent if the file is damaged."""
        tensorflow = keras_net.quiet_tensorflow()
        if threads is not None:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        return _Net(keras_net.open_file(folder / _FILE))


class _Net:
    batch = 8

    def __init__(self, net: Any) -> None:
        self._net = net
        self._lock = threading.Lock()  # Keras does not promise that two threads may call a net

    def infer(self, batch: NDArray[Any]) -> Outputs:
        with self._lock:
            return keras_net.outputs(self._net, batch)


ENGINE = Keras()
