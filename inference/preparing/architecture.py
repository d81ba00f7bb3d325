"""The models as Keras builds them. Only for a process that may import TensorFlow: the preparation, the reference."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from inference import own
from inference.engines import Outputs
from inference.model import Model
from inference.store import WEIGHTS_FILE
from shoal.errors import Permanent


def quiet_tensorflow() -> Any:
    """TensorFlow, imported with its chatter off. Raises Permanent when it is not there or not Keras' backend."""
    os.putenv("TF_CPP_MIN_LOG_LEVEL", "3")  # its C++ part reads this when it is imported
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise Permanent(
            "TensorFlow is needed to prepare a model and is not installed: pip install -r requirements.txt"
        ) from error
    if keras.config.backend() != "tensorflow":
        raise Permanent(f"Keras is set to run on {keras.config.backend()}: set KERAS_BACKEND=tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


def stock(model: Model) -> Any:
    """The keras.applications model as it is, its weights random: float32 [N, side, side, 3], preprocessed, in."""
    quiet_tensorflow()
    import keras

    module, name = model.keras
    return getattr(_module(model) if "." in module else keras.applications, name)(weights=None)


def load(model: Model, folder: Path) -> Any:
    """The reference that lies in a weights folder of the cache: a Keras net, or the path of an ONNX file."""
    if (folder / own.ONNX).is_file():
        return folder / own.ONNX
    quiet_tensorflow()
    if (folder / own.NET).is_file():
        return keras_file(folder / own.NET)
    net = stock(model)
    net.load_weights(folder / WEIGHTS_FILE)
    return net


def keras_file(path: Path) -> Any:
    """The net in a .keras or .h5 file. Raises Permanent, also when loading it would run code of a stranger."""
    quiet_tensorflow()
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zipfile, h5py, json and Keras each have their own
        reason = " ".join(str(error).split())[:200]
        raise Permanent(f"{path.name} is not a Keras model that can be loaded: {reason}") from error


def preprocess(model: Model, images: Any) -> Any:
    """The stock preprocessing of the model's own module: float32 RGB 0..255 in, what the stock model expects out."""
    return _module(model).preprocess_input(images)


def _module(model: Model) -> Any:
    module = model.keras[0]
    return importlib.import_module(module if "." in module else f"keras.applications.{module}")


def with_preprocessing(model: Model, net: Any) -> Any:
    """The reference behind its preprocessing: uint8 RGB [N, side, side, 3] in, probabilities [N, classes] out.

    That is a Keras net again; an ONNX file has its preprocessing inside and stays as it is.
    """
    if isinstance(net, Path):
        return net
    import keras

    pixels = keras.Input((model.side, model.side, 3), dtype="uint8", name="image")
    return keras.Model(pixels, net(preprocess(model, keras.ops.cast(pixels, "float32"))))


def outputs(net: Any, batch: Any) -> Outputs:
    """Every output, float32, of what `with_preprocessing` gave, for a batch of its input."""
    if isinstance(net, Path):
        import onnxruntime

        session = onnxruntime.InferenceSession(net, providers=["CPUExecutionProvider"])
        found = session.run(None, {session.get_inputs()[0].name: batch})
    else:
        found = net.predict_on_batch(batch)
    return tuple(np.asarray(one, dtype=np.float32) for one in (found if isinstance(found, list | tuple) else [found]))
