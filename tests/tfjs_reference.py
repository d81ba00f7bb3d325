"""Runs a published tfjs graph model as it is, node by node in TensorFlow: what our own net of it is compared with."""

from __future__ import annotations

import base64
import json
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.keras_net import quiet_tensorflow


def run(
    tarball: Path, folder: str, left_out: str, feed: str, outputs: list[str], batch: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """Values of the tensors `outputs` when the tensor `feed` is `batch`; nodes under `left_out`, which that feed makes
    superfluous, are not run."""
    tensorflow = quiet_tensorflow()
    with tarfile.open(tarball) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    model = json.loads(files[f"{folder}/model.json"])
    constants: dict[str, NDArray[Any]] = {}
    for group in model["weightsManifest"]:
        shards = b"".join(files[f"{folder}/{path}"] for path in group["paths"])
        at = 0
        for entry in group["weights"]:
            count = math.prod(entry["shape"])
            kind = {"float32": "<f4", "int32": "<i4"}[entry["dtype"]]
            constants[entry["name"]] = np.frombuffer(shards, kind, count, at).reshape(entry["shape"])
            at += 4 * count
    nodes = [node for node in model["modelTopology"]["node"] if not node["name"].startswith(left_out)]
    graph = _graph(tensorflow, nodes, constants)

    def call(values: Any) -> Any:
        return tensorflow.graph_util.import_graph_def(graph, input_map={feed: values}, return_elements=outputs, name="")

    shape = tensorflow.TensorSpec((None, *batch.shape[1:]), tensorflow.float32)
    found = tensorflow.compat.v1.wrap_function(call, [shape])(tensorflow.constant(batch))
    return [np.asarray(one) for one in found]


def _graph(tensorflow: Any, nodes: list[dict[str, Any]], constants: dict[str, NDArray[Any]]) -> Any:
    from google.protobuf import json_format  # type: ignore[import-untyped]

    graph = tensorflow.compat.v1.GraphDef()
    for node in nodes:
        made = graph.node.add()
        if node["op"] == "Const":
            made.name, made.op = node["name"], "Const"
            value = constants[node["name"]]
            made.attr["dtype"].type = tensorflow.as_dtype(value.dtype).as_datatype_enum
            made.attr["value"].tensor.CopyFrom(tensorflow.make_tensor_proto(value))
            continue
        fields = {**node, "attr": {name: _attribute(value) for name, value in node["attr"].items()}}
        json_format.ParseDict(fields, made)
    return graph


def _attribute(value: dict[str, Any]) -> dict[str, Any]:
    """An attribute in protobuf's own JSON: text in base64, and of a list only the part that is filled."""
    if "s" in value:
        return {"s": base64.b64encode(bytes(value["s"])).decode()}
    if "list" in value:
        return {"list": {kind: items for kind, items in value["list"].items() if items}}
    return value
