"""Keras on TensorFlow: the reference that the other engines are checked against. Slow to start, large in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.architecture import quiet_tensorflow, stock, with_preprocessing
from inference.engines import Loaded
from inference.model import Model

_FILE = "model.weights.h5"


class Keras:
    """See `inference.engines.Engine`."""

    def convert(self, model: Model, net: Any, folder: Path) -> None:  # noqa: ARG002 - the signature of every engine
        """Write the stock model's weights in Keras' own form."""
        net.save_weights(folder / _FILE)

    def load(self, model: Model, folder: Path, threads: int | None = None, exact: bool = False) -> Loaded:  # noqa: ARG002
        """Build the stock model with its weights. It computes in float32 always."""
        tensorflow = quiet_tensorflow()
        if threads is not None:
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        net = stock(model)
        net.load_weights(folder / _FILE)
        return _Net(with_preprocessing(model, net))


class _Net:
    def __init__(self, net: Any) -> None:
        self._net = net

    def infer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.asarray(self._net.predict_on_batch(batch), dtype=np.float32)


ENGINE = Keras()
