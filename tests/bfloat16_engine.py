"""OpenVINO as it computes on a CPU with bfloat16, on any CPU: in bfloat16 each value is rounded.

OpenVINO ignores the wish for bfloat16 on a CPU that lacks it, so the rounding is put into the graph. MobileNetV2 calls
the example cat `tiger_cat` here, as it does on such a CPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from openvino import opset13

from inference.arithmetic import BFLOAT16, FLOAT32
from inference.engines import Loaded
from inference.engines.openvino import OpenVino
from inference.model import Model

# Veltkamp's splitting (Dekker 1971, Numerische Mathematik 18:224): x * f - (x * f - x) keeps 24 - 16 of float32's 24
# significant bits, and bfloat16 has 8.
_FACTOR = np.float32(2**16 + 1)


class Bfloat16(OpenVino):
    """OpenVINO with the output of every operation, constants included, rounded, for bfloat16."""

    def precisions(self) -> tuple[str, ...]:
        return (FLOAT32, BFLOAT16)

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:
        if precision == FLOAT32:
            return super().load(model, folder, threads, precision)
        net = openvino.Core().read_model(folder / "model.xml")
        _round(net)
        with tempfile.TemporaryDirectory() as rounded:
            openvino.save_model(net, Path(rounded, "model.xml"), compress_to_fp16=False)
            return super().load(model, Path(rounded), threads)


def _round(net: Any) -> None:
    for operation in net.get_ordered_ops():
        if operation.get_type_name() == "Result":
            continue
        for output in operation.outputs():
            if output.get_element_type() == openvino.Type.f32:
                readers = list(output.get_target_inputs())
                large = opset13.multiply(output, opset13.constant(_FACTOR))
                rounded = opset13.subtract(large, opset13.subtract(large, output))
                for reader in readers:
                    reader.replace_source_output(rounded.output(0))
    net.validate_nodes_and_infer_types()


ENGINE = Bfloat16()
