"""OpenVINO on the CPU: the default. Starts in half a second and never imports TensorFlow."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from inference.engines import Loaded
from inference.model import Model
from shoal.errors import Permanent

_FILE = "model.xml"  # OpenVINO writes and finds model.bin beside it


class OpenVino:
    """See `inference.engines.Engine`."""

    def convert(self, model: Model, net: Any, folder: Path) -> None:
        """Write the net, preprocessing inside, as OpenVINO IR with float32 weights and a free batch size."""
        from inference.architecture import with_preprocessing

        openvino = _openvino()
        converted = openvino.convert_model(with_preprocessing(model, net))
        openvino.save_model(converted, folder / _FILE, compress_to_fp16=False)

    def load(self, model: Model, folder: Path, threads: int | None = None, exact: bool = False) -> Loaded:
        """Compile the model for this machine. Raises Permanent when the files are damaged.

        The type of the arithmetic is left to OpenVINO unless `exact`: bfloat16 where the CPU is fast at it.
        """
        openvino = _openvino()
        options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        if exact:
            options["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            return _Compiled(openvino.Core().compile_model(folder / _FILE, "CPU", options))
        except RuntimeError as error:
            raise Permanent(
                f"{model.name} cannot be loaded, the files in {folder} are damaged: run `shoal models prepare --again`"
            ) from error


class _Compiled:
    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()

    def infer(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._request.infer([np.ascontiguousarray(batch)], share_inputs=True)
        # The output tensor belongs to the request and is overwritten by the next call.
        return np.array(self._request.get_output_tensor().data, dtype=np.float32)


ENGINE = OpenVino()


def _openvino() -> Any:
    # Without its telemetry package (None makes the import fail, for which OpenVINO has a stub) it sends no usage
    # statistics when it converts a model, and imports a fifth faster.
    sys.modules.setdefault("openvino_telemetry", cast(ModuleType, None))
    import openvino

    return openvino
