"""What a device can do to an activation so that it gives less away, and what that costs in right labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.privacy.attack import BATCH, KnownHead, Pictures
from inference.split import packing

Numbers = NDArray[np.float32]

NONE = "uint8"  # what travels without a remedy
SEED = 18
_NOISE = "noise-"


@dataclass(frozen=True)
class Remedy:
    """A remedy. name: "uint8" for none; "uint4" for 15 steps; "noise-0.5": Gaussian noise, of half the deviation.

    applied: what arrives of activations [N, ...].
    """

    name: str
    applied: Callable[[Numbers], Numbers]

    @classmethod
    def of(cls, name: str) -> Remedy:
        """The remedy of that name. Raises click.BadParameter."""
        if name in packing.LEVELS:
            return cls(name, lambda sent: _packed(sent, name))
        try:
            size = float(name.removeprefix(_NOISE))
        except ValueError:
            size = -1.0
        if not name.startswith(_NOISE) or not 0 < size < 100:
            raise click.BadParameter(f"{name} is neither {', '.join(packing.LEVELS)} nor noise- and a number")
        return cls(name, lambda sent: _packed(_with_noise(sent, size), NONE))


def _packed(sent: Numbers, dtype: str) -> Numbers:
    return np.stack([packing.dequantize(*packing.quantize(one, dtype)) for one in sent])


def _with_noise(sent: Numbers, size: float) -> Numbers:
    """Each activation with noise of `size` times its own deviation."""
    noise = np.random.default_rng(SEED).normal(0, 1, sent.shape)
    deviation = sent.std(axis=tuple(range(1, sent.ndim)), keepdims=True)
    return np.asarray(sent + size * deviation * noise, np.float32)


def agreeing(head: KnownHead, whole: Any, pictures: Pictures, remedy: Remedy) -> int:
    """For how many pictures the tail gives the label of the whole net from what arrives with that remedy."""
    import keras

    tail = keras.Model(head.net.get_layer(head.cut).output, head.net.outputs[0])
    sent = remedy.applied(head.activations(pictures))
    found, right = (net.predict(rows, batch_size=BATCH, verbose=0) for net, rows in ((tail, sent), (whole, pictures)))
    return int((found.argmax(axis=-1) == right.argmax(axis=-1)).sum())
