"""Builds models in Keras and puts their preprocessing in front. Imports TensorFlow when it is called."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from inference import keras_net, own, store
from inference.answer import Outputs
from inference.model import Model
from inference.store import WEIGHTS_FILE
from shoal.errors import NotFound


def stock(model: Model) -> Any:
    """The model's architecture with random weights. Its input is preprocessed: float32 [N, side, side, 3]."""
    keras_net.quiet_tensorflow()
    import keras

    module, name = model.keras
    return getattr(_module(model) if "." in module else keras.applications, name)(weights=None)


def prepared_weights(model: Model, cache: Path) -> tuple[Path, store.Card]:
    """The folder of a prepared model's own weights, for `load`, and their card. Raises NotFound."""
    folder = store.model_folder(model, cache, None) / store.WEIGHTS
    card = store.ready(folder)
    if card is None:
        raise NotFound(f"{model.name} is not prepared: run `shoal models prepare {model.name}`")
    return folder, card


def load(model: Model, folder: Path) -> Any:
    """What a weights folder of the cache holds: a Keras net, the path of an ONNX file, or the folder's own path.

    The folder itself is the net of a model that names its engine.
    """
    if model.engine:
        return folder
    if (folder / own.ONNX).is_file():
        return folder / own.ONNX
    if (folder / own.NET).is_file():
        return keras_net.open_file(folder / own.NET)
    net = stock(model)
    net.load_weights(folder / WEIGHTS_FILE)
    return net


def preprocess(model: Model, images: Any) -> Any:
    """Apply the preprocessing of the model's own module to float32 RGB of 0 to 255."""
    return _module(model).preprocess_input(images)


def _module(model: Model) -> Any:
    module = model.keras[0]
    return importlib.import_module(module if "." in module else f"keras.applications.{module}")


def with_preprocessing(model: Model, net: Any) -> Any:
    """Put the preprocessing in front of a net: uint8 RGB [N, side, side, 3] in, probabilities [N, classes] out.

    The result is a Keras net. A path is returned as it is: an ONNX file has its preprocessing inside already, and the
    engine of a model that names it knows the preprocessing of its files.
    """
    if isinstance(net, Path):
        return net
    import keras

    pixels = keras.Input((model.side, model.side, 3), dtype="uint8", name="image")
    return keras.Model(pixels, net(preprocess(model, keras.ops.cast(pixels, "float32"))))


def outputs(net: Any, batch: Any) -> Outputs:
    """Every output of a Keras net or of the ONNX file at a path, as float32, for a batch of its input."""
    if not isinstance(net, Path):
        return keras_net.outputs(net, batch)
    import onnxruntime

    session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: batch})
    return tuple(np.asarray(one, dtype=np.float32) for one in found)
