"""Where a net can be cut in two: the layers whose output alone carries everything that the rest of the net needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of a net.

    inputs:        the names of the layers whose outputs it reads; empty for the net's input.
    multiply_adds: for one picture.
    """

    name: str
    inputs: tuple[str, ...] = ()
    multiply_adds: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut behind the layer `name`: the head ends with it, and its output is the activation that travels.

    The layer counts to the head. The net's input counts to no side.
    """

    name: str
    head_layers: int
    tail_layers: int
    head_multiply_adds: int
    tail_multiply_adds: int


def find_cuts(layers: Sequence[Layer], output: str) -> list[Cut]:
    """Every legal cut, from the input to the output; neither the input nor the output itself is one.

    layers: each stands behind those that it reads.
    output: the name of the layer that gives the net's output.

    A cut is legal if every way from an input to the output leads through its layer. So no residual block is cut in its
    middle, where two tensors would have to travel. Layers that the output does not need are left out.
    """
    by_name = {layer.name: layer for layer in layers}
    needed = _needed(by_name, output)
    kept = [layer for layer in layers if layer.name in needed]
    last_reader = {name: at for at, layer in enumerate(kept) for name in layer.inputs}
    computing = [layer for layer in kept if layer.inputs]
    all_work = sum(layer.multiply_adds for layer in computing)
    cuts = []
    open_until = head_layers = work = 0
    inputs_left = len(kept) - len(computing)
    for at, layer in enumerate(kept):
        inputs_left -= not layer.inputs
        head_layers += bool(layer.inputs)
        work += layer.multiply_adds if layer.inputs else 0
        # Legal if no tensor made before this layer is read behind it, and no other input comes later.
        if layer.inputs and layer.name != output and open_until <= at and not inputs_left:
            cuts.append(Cut(layer.name, head_layers, len(computing) - head_layers, work, all_work - work))
        open_until = max(open_until, last_reader.get(layer.name, at))
    return cuts


def _needed(layers: Mapping[str, Layer], output: str) -> set[str]:
    """The names of the layers that the output depends on, its own included."""
    needed: set[str] = set()
    waiting: list[str] = [output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += layers[name].inputs
    return needed
