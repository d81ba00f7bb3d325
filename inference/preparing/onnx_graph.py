"""Reads a user's ONNX file, checks its input and output, and puts preprocessing in front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from inference.pixels import Pixels
from shoal.errors import Permanent

Shape = tuple[int | None, ...]


def read(file: Path) -> Any:
    """The graph in a file. Raises Permanent."""
    try:
        net = onnx.load(file)
        onnx.checker.check_model(net)
    except Exception as error:  # protobuf and the checker raise classes of their own
        reason = " ".join(str(error).split())[:200]
        raise Permanent(f"{file.name} is not an ONNX model that can be loaded: {reason}") from error
    return net


def write(net: Any, file: Path) -> None:
    """Write the graph to a file."""
    onnx.save(net, file)


def ends(net: Any, name: str) -> tuple[Shape, Shape]:
    """The shapes of the only input and the only output; None is a free size. Raises Permanent for other graphs."""
    inputs, outputs = _inputs(net), net.graph.output
    if len(inputs) != 1 or len(outputs) != 1:
        raise Permanent(f"{name} has {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed")
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise Permanent(f"the input of {name} is not float32")
    return _shape(inputs[0]), _shape(outputs[0])


def behind_preprocessing(net: Any, side: int, channels_first: bool, pixels: Pixels) -> Any:
    """Put preprocessing in front: the input becomes uint8 RGB [N, side, side, 3], with a free batch size."""
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "order"], ["ordered"], axis=3),
        helper.make_node("Sub", ["ordered", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["ready"], perm=[0, 3, 1, 2] if channels_first else [0, 1, 2, 3]),
    ]
    shape: list[str | int | None] = ["N", 3, side, side] if channels_first else ["N", side, side, 3]
    order = np.array([2, 1, 0] if pixels.bgr else [0, 1, 2], np.int64)
    constants: dict[str, NDArray[Any]] = {"mean": pixels.mean, "scale": pixels.scale, "order": order}
    graph = helper.make_graph(
        nodes,
        "preprocessing",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side, side, 3])],
        [helper.make_tensor_value_info("ready", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    before = helper.make_model(graph, opset_imports=net.opset_import, ir_version=net.ir_version)
    [given] = _inputs(net)
    for one in (given, *net.graph.output):
        one.type.tensor_type.shape.dim[0].dim_param = "N"
    del net.graph.value_info[:]  # they were inferred for the old batch size
    return compose.merge_models(before, net, io_map=[("ready", given.name)], prefix1="shoal_")


def with_softmax(net: Any) -> Any:
    """Append a softmax, which turns logits into probabilities."""
    output = net.graph.output[0]
    net.graph.node.append(helper.make_node("Softmax", [output.name], ["shoal_probabilities"], axis=1))
    output.name = "shoal_probabilities"
    return net


def _inputs(net: Any) -> list[Any]:
    constants = {one.name for one in net.graph.initializer}  # old files list them as inputs too
    return [one for one in net.graph.input if one.name not in constants]


def _shape(value: Any) -> Shape:
    return tuple(one.dim_value or None for one in value.type.tensor_type.shape.dim)
