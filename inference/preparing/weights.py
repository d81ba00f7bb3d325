"""Loads fetched weights into a stock Keras model, and refuses weights that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference import tfjs
from inference.model import Model
from inference.preparing.sources import FetchedWeights
from shoal.errors import Permanent

SUFFIXES = (".h5", ".hdf5", ".keras")  # .weights.h5 among them


def put(model: Model, net: Any, fetched: FetchedWeights) -> None:
    """Load the weights into `net`. Raises Permanent if they do not fit the architecture or are not finite."""
    if fetched.folder:
        _put_values(model, net, fetched.translate(tfjs.read(fetched.path, fetched.folder)))
    else:
        _put_file(model, net, fetched)
    if not all(np.isfinite(values).all() for values in net.get_weights()):
        raise Permanent(f"{fetched.source} holds weights that are not finite numbers")


def _put_values(model: Model, net: Any, values: tfjs.Values) -> None:
    for layer in net.layers:
        names = [f"{layer.name}/{weight.name}" for weight in layer.weights]
        missing = [name for name in names if name not in values]
        if missing:
            raise Permanent(f"the weights do not fit {model.title}: {missing[0]} is missing")
        try:
            layer.set_weights([values.pop(name) for name in names])
        except ValueError as error:
            raise Permanent(f"the weights do not fit {model.title}: {_one_line(error)}") from error
    if values:
        raise Permanent(f"the weights do not fit {model.title}: it has no {next(iter(values))}")


def _put_file(model: Model, net: Any, fetched: FetchedWeights) -> None:
    name = fetched.path.name
    if fetched.path.suffix not in SUFFIXES:
        raise Permanent(f"{name} is not a Keras weights file: its name must end in .h5, .weights.h5 or .keras")
    try:
        net.load_weights(fetched.path)
    except Exception as error:  # h5py, zipfile and Keras raise classes of their own
        raise Permanent(f"{name} does not fit {model.title}: {_one_line(error)}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
