"""Measures every cut of a net: what travels, in bytes, and what its packing changes in the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.model import Model
from inference.preparing import architecture
from inference.preparing.cutting import keras_graph
from inference.preparing.sources import Say
from inference.split import packing
from inference.split.cuts import Cut, find_cuts

COMPRESSED_ROWS = 24  # pictures whose activations are compressed: gzip needs 30 ms for a large one
_ROWS = 8  # pictures at once: all activations of ResNet50 have 45 MB a picture
_FLOAT32_BYTES = 4
_PACKED = ("uint8_zstd", "uint8_gzip", "uint4_zstd", "float32_zstd")


def cuts_of(model: Model, net: Any) -> list[Cut]:
    """The legal cuts of a net whose layers have usable names. Raises Permanent."""
    found = find_cuts(keras_graph.layers_of(net), keras_graph.output_of(net))
    return [cut for cut in found if keras_graph.is_usable(model, cut.name)]


def measure(model: Model, net: Any, pictures: NDArray[np.uint8], say: Say) -> list[dict[str, Any]]:
    """A row for each cut, from the input to the output.

    pictures: [N, side, side, 3], the model's input.

    A row has the fields of Cut; `shape`; the bytes of a picture's activation as `float32` and `uint8`, and, as the mean
    of the first pictures, as `uint8_zstd`, `uint8_gzip`, `uint4_zstd` and `float32_zstd`; `agreeing`: for how many of
    the `pictures` the tail, in float32, gives the best label of the whole net from the activation in uint8;
    `agreeing_uint4`: the same in 4 bits. float32 loses nothing.
    """
    cuts = cuts_of(model, net)
    names = [cut.name for cut in cuts]
    tapped = _tapped(model, net, names)
    tails = [keras_graph.tail_of(net, name) for name in names]
    agreeing = {dtype: [0] * len(cuts) for dtype in packing.LEVELS}
    sizes: list[dict[str, list[int]]] = [{name: [] for name in _PACKED} for _ in cuts]
    for start in range(0, len(pictures), _ROWS):
        say(f"measuring {len(cuts)} cuts of {model.title}: {start} of {len(pictures)} pictures done")
        rows = pictures[start : start + _ROWS]
        *activations, whole = (np.asarray(one) for one in tapped({"image": rows}, training=False))
        for at, activation in enumerate(activations):
            # One call for all packings: a call costs more than a small picture.
            restored = [packing.dequantize(*packing.quantize(one, dtype)) for dtype in agreeing for one in activation]
            answers = np.asarray(tails[at](np.stack(restored), training=False)).argmax(axis=-1)
            for same, answer in zip(agreeing.values(), answers.reshape(len(agreeing), -1), strict=True):
                same[at] += int((answer == whole.argmax(axis=-1)).sum())
            for row in range(min(len(rows), COMPRESSED_ROWS - start)):
                _note(sizes[at], activation[row])
    return [
        {
            **asdict(cut),
            "shape": list(tail.input_shape[1:]),
            "float32": _FLOAT32_BYTES * int(np.prod(tail.input_shape[1:])),
            "uint8": int(np.prod(tail.input_shape[1:])),
            **{name: round(fmean(found)) for name, found in size.items()},
            "agreeing": agreeing["uint8"][at],
            "agreeing_uint4": agreeing["uint4"][at],
            "pictures": len(pictures),
        }
        for at, (cut, tail, size) in enumerate(zip(cuts, tails, sizes, strict=True))
    ]


def _tapped(model: Model, net: Any, names: Sequence[str]) -> Any:
    """The whole net, with the activations of all cuts and its answer as outputs."""
    import keras

    outputs = [*(net.get_layer(name).output for name in names), net.outputs[0]]
    return architecture.with_preprocessing(model, keras.Model(net.inputs, outputs))


def _note(sizes: dict[str, list[int]], activation: NDArray[np.float32]) -> None:
    for name, found in sizes.items():
        dtype, _, compression = name.partition("_")
        if dtype == "float32":
            raw = activation.tobytes()
        else:
            raw = packing.as_bytes(packing.quantize(activation, dtype)[0], dtype)
        found.append(len(packing.compress(raw, compression)))
