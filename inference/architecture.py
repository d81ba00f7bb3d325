"""The models as Keras builds them. Only for a process that may import TensorFlow: the preparation, the reference."""

from __future__ import annotations

import importlib
import os
from typing import Any

from inference.model import Model
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
    module, name = model.keras
    return getattr(importlib.import_module(f"keras.applications.{module}"), name)(weights=None)


def preprocess(model: Model, images: Any) -> Any:
    """The stock preprocessing of the model's own module: float32 RGB 0..255 in, what the stock model expects out."""
    return importlib.import_module(f"keras.applications.{model.keras[0]}").preprocess_input(images)


def with_preprocessing(model: Model, net: Any) -> Any:
    """The stock model behind its preprocessing: uint8 RGB [N, side, side, 3] in, probabilities [N, classes] out."""
    import keras

    pixels = keras.Input((model.side, model.side, 3), dtype="uint8", name="image")
    return keras.Model(pixels, net(preprocess(model, keras.ops.cast(pixels, "float32"))))
