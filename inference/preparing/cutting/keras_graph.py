"""A Keras net as a graph of layers, and the two nets on both sides of a cut."""

from __future__ import annotations

import math
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

from inference.model import Model
from inference.preparing import architecture
from inference.split.cuts import Layer
from inference.split.point import tail_name
from shoal.errors import Permanent
from shoal.messages import is_model_name


def layers_of(net: Any) -> list[Layer]:
    """The layers of a net, each behind those that it reads. Raises Permanent for another net.

    Multiply-adds are those of convolutions and dense layers: the size of a kernel times the places where it is laid.
    """
    described = {}
    for config in net.get_config().get("layers", ()):
        if not isinstance(config.get("inbound_nodes"), list):
            raise Permanent(f"{net.name} is no graph of layers, so it cannot be cut")
        if len(config["inbound_nodes"]) > 1:
            raise Permanent(f"{net.name} uses the layer {config['name']} twice, so it cannot be cut")
        described[config["name"]] = tuple(dict.fromkeys(_read_layers(config["inbound_nodes"])))
    return [
        Layer(name, described[name], _multiply_adds(net, name)) for name in TopologicalSorter(described).static_order()
    ]


def output_of(net: Any) -> str:
    """The name of the layer that gives the net's only output. Raises Permanent for several."""
    if len(net.outputs) != 1 or len(net.inputs) != 1:
        raise Permanent(f"{net.name} has {len(net.inputs)} inputs and {len(net.outputs)} outputs, so it cannot be cut")
    names: list[str] = [config[0] for config in _histories(net.get_config()["output_layers"])]
    return names[0]


def is_usable(model: Model, cut: str) -> bool:
    """Whether the name of a layer can be a part of a tail's name."""
    return is_model_name(tail_name(model.name, cut))


def head_of(model: Model, net: Any, cut: str) -> Any:
    """The head: uint8 RGB [N, side, side, 3] in, the activation out."""
    import keras

    return architecture.with_preprocessing(model, keras.Model(net.inputs, net.get_layer(cut).output))


def tail_of(net: Any, cut: str) -> Any:
    """The tail: the activation in, what the whole net gives out."""
    import keras

    return keras.Model(net.get_layer(cut).output, net.outputs[0])


def _multiply_adds(net: Any, name: str) -> int:
    layer = net.get_layer(name)
    kernels = sum(math.prod(weight.shape) for weight in layer.weights if len(weight.shape) > 1)
    if not kernels:
        return 0
    return int(kernels * math.prod(int(size) for size in layer.output.shape[1:-1]))


def _read_layers(value: Any) -> Iterator[str]:
    """The names of the layers whose tensors are arguments of a call, as Keras writes them into a config."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
        else:
            for inner in value.values():
                yield from _read_layers(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _read_layers(inner)


def _histories(value: Any) -> list[Any]:
    """The output layers of a config: one, [name, node, tensor], or a list of such."""
    return [value] if value and isinstance(value[0], str) else list(value)
