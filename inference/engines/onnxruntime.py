"""ONNX Runtime on the CPU: the second engine. It runs a user's .onnx file without conversion."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from inference.model import Model
from shoal.errors import Permanent
from shoal.folders import install_packages

_FILE = "model.onnx"


class OnnxRuntime:
    """See `inference.engines.Engine`."""

    def precisions(self) -> tuple[str, ...]:
        """Return float32 alone."""
        return (FLOAT32,)

    def convert(self, net: Any, folder: Path) -> None:
        """Write the net as ONNX with a free batch size."""
        if isinstance(net, Path):
            shutil.copyfile(net, folder / _FILE)
            return
        if importlib.util.find_spec("tf2onnx") is None:  # Keras' own error does not name the package
            raise Permanent(f"Keras writes ONNX with tf2onnx, which is not installed: {install_packages()}")
        net(np.zeros((1, *net.input_shape[1:]), np.uint8))  # Keras exports only a net that was called
        net.export(folder / _FILE, format="onnx", verbose=False)
        _drop_unused_inputs(folder / _FILE)

    def quantize(self, model: Model, folder: Path, rows: list[NDArray[Any]], target: Path) -> None:  # noqa: ARG002
        """Raise Permanent: this engine has no int8."""
        raise Permanent(f"onnxruntime runs {model.name} in float32 only: SHOAL_ENGINE=openvino can run it in int8")

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:  # noqa: ARG002
        """Load the model, which always computes in float32 on a CPU. Raises Permanent if the file is damaged."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only, which are raised as well
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            return _Session(onnxruntime.InferenceSession(folder / _FILE, options, ["CPUExecutionProvider"]))
        except Exception as error:  # its own classes have no other common base
            raise Permanent(
                f"{model.name} cannot be loaded, the files in {folder} are damaged: run `shoal models prepare --again`"
            ) from error


def _drop_unused_inputs(file: Path) -> None:
    """Remove unused inputs: tf2onnx leaves one for each constant that it folds, such as ResNet's means."""
    import onnx

    net = onnx.load(file)
    used = {name for node in net.graph.node for name in node.input}
    for one in [one for one in net.graph.input if one.name not in used]:
        net.graph.input.remove(one)
    onnx.save(net, file)


class _Session:
    batch = 8

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def infer(self, batch: NDArray[Any]) -> Outputs:
        found = self._session.run(None, {self._input: np.ascontiguousarray(batch)})
        return tuple(np.asarray(one, dtype=np.float32) for one in found)


ENGINE = OnnxRuntime()
