"""Stores the weights of an ONNX net in 8 to 12 bits, so that it is a third as large on its way to a browser.

The net computes in float32 as before: its first nodes put the weights together, once, when it is loaded. To compute in
8-bit integers is slower in WebAssembly, and changes more labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LAST_BITS = 8  # of the last layer, a third of MobileNetV2's weights
LARGE, LARGE_BITS = 150_000, 9  # of layers with so many weights or more
BITS = 12  # of the others: errors in the first layers change most labels
LEAST = 1000  # smaller layers keep float32

_WEIGHTED = ("Conv", "Gemm", "MatMul")


def store(source: Path, target: Path) -> None:
    """Write the net of the file `source` to `target`, its batch norms folded into the layers before them."""
    import onnx

    net = onnx.load_from_string(_folded(source))
    weights = {one.name: one for one in net.graph.initializer}
    layers = [node for node in net.graph.node if node.op_type in _WEIGHTED and node.input[1] in weights]
    nodes: list[Any] = []
    for layer in layers:
        name = layer.input[1]
        values = onnx.numpy_helper.to_array(weights[name])
        if values.size >= LEAST and name in weights:
            made, parts = _divided(name, values, _output_axis(layer, values.ndim), _bits(layer, values.size))
            nodes += made
            net.graph.initializer.remove(weights.pop(name))
            net.graph.initializer.extend(parts)
    for node in reversed(nodes):
        net.graph.node.insert(0, node)
    # What cannot be compressed stands together: gzip has one table of codes for each stretch of bytes.
    ordered = sorted(net.graph.initializer, key=lambda one: one.name.endswith("_lower"))
    del net.graph.initializer[:]
    net.graph.initializer.extend(ordered)
    onnx.save(net, target)


def _folded(source: Path) -> bytes:
    """The net without batch norms, and without what needs no computing; any program that reads ONNX can run it."""
    import onnxruntime

    out = source.with_name(f"{source.stem}-folded.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(out)
    onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
    return out.read_bytes()


def _bits(layer: Any, size: int) -> int:
    if layer.op_type != "Conv":
        return LAST_BITS
    return LARGE_BITS if size >= LARGE else BITS


def _output_axis(layer: Any, dimensions: int) -> int:
    """The axis of the weights that counts the layer's outputs: each output has a scale of its own."""
    if layer.op_type == "Conv":
        return 0
    turned = any(one.name == "transB" and one.i for one in layer.attribute)
    return 0 if turned else dimensions - 1


def _divided(name: str, values: NDArray[np.float32], axis: int, bits: int) -> tuple[list[Any], list[Any]]:
    """The nodes that make `name` from its upper 8 bits and the rest, and these as initializers."""
    from onnx import TensorProto, helper, numpy_helper

    rest = bits - 8
    others = tuple(one for one in range(values.ndim) if one != axis)
    largest = np.abs(values).max(axis=others, keepdims=True)
    step = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(2 ** (bits - 1) - 1)
    whole = np.rint(values / step).astype(np.int16)
    parts = {"upper": (whole >> rest).astype(np.int8), "upper_step": step * np.float32(2**rest)}
    if rest:
        parts |= {"lower": (whole & (2**rest - 1)).astype(np.uint8), "step": step}
    nodes = [helper.make_node("Cast", [f"{name}_upper"], [f"{name}_upper_float"], to=TensorProto.FLOAT)]
    made = f"{name}_coarse" if rest else name
    nodes.append(helper.make_node("Mul", [f"{name}_upper_float", f"{name}_upper_step"], [made]))
    if rest:
        nodes += [
            helper.make_node("Cast", [f"{name}_lower"], [f"{name}_lower_float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}_lower_float", f"{name}_step"], [f"{name}_fine"]),
            helper.make_node("Add", [made, f"{name}_fine"], [name]),
        ]
    return nodes, [numpy_helper.from_array(np.asarray(part), f"{name}_{suffix}") for suffix, part in parts.items()]
