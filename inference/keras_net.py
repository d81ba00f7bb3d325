"""Opens and runs Keras nets, the reference that engines are compared with. Imports TensorFlow when it is called."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from inference.answer import Outputs
from shoal.errors import Permanent
from shoal.folders import install_packages


def quiet_tensorflow() -> Any:
    """Import TensorFlow without its log lines. Raises Permanent if it is not installed or not Keras' backend."""
    os.putenv("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's C++ part reads this when it is imported
    try:
        import keras
        import tensorflow
    except ImportError as error:
        raise Permanent(
            f"TensorFlow is needed to prepare a model and is not installed: {install_packages()}"
        ) from error
    if keras.config.backend() != "tensorflow":
        raise Permanent(f"Keras is set to run on {keras.config.backend()}: set KERAS_BACKEND=tensorflow")
    tensorflow.get_logger().setLevel("ERROR")
    return tensorflow


def open_file(path: Path) -> Any:
    """The net in a .keras or .h5 file. Raises Permanent, also when loading the file would run code that is in it."""
    quiet_tensorflow()
    import keras

    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zipfile, h5py, json and Keras raise classes of their own
        reason = " ".join(str(error).split())[:200]
        raise Permanent(f"{path.name} is not a Keras model that can be loaded: {reason}") from error


def outputs(net: Any, batch: Any) -> Outputs:
    """Every output of a Keras net, as float32, for a batch of its input."""
    found = net.predict_on_batch(batch)
    return tuple(np.asarray(one, dtype=np.float32) for one in (found if isinstance(found, list | tuple) else [found]))
