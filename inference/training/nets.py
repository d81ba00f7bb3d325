"""The nets that are trained, as Keras models: float32 RGB [N, side, side, 3] of 0 to 255 in, probabilities out.

Their preprocessing is inside. Imports TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from inference.model import Model
from inference.preparing import architecture

_WIDTHS = (16, 32, 64)  # He et al. 2015, section 4.2
_BLOCKS = 2  # per stage; 14 layers in all
_DECAY = 1e-4
_HEAD_DECAY = 1e-4


def flat(side: int, grey: bool, classes: int) -> Any:
    """A net of two dense layers: all pixels to 128 hidden units, and those to the classes."""
    image = keras.Input((side, side, 3), name="image")
    hidden = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(_scaled(image, grey)))
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(hidden))


def resnet_small(side: int, grey: bool, classes: int) -> Any:
    """The residual net for small images of He et al. 2015 (arXiv:1512.03385, section 4.2) with 14 layers: stages of 16,
    32 and 64 channels, the last two at half the resolution of the one before."""
    image = keras.Input((side, side, 3), name="image")
    x = _normed(_conv(_scaled(image, grey), _WIDTHS[0]), relu=True)
    for stage, width in enumerate(_WIDTHS):
        for block in range(_BLOCKS):
            x = _block(x, width, stride=2 if stage and not block else 1)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax")(x))


SCRATCH = {"flat": flat, "resnet_small": resnet_small}


def backbone(model: Model, weights: Path) -> Any:
    """The model with the weights in `weights`, frozen, without its last layer: preprocessed images in, [N, features]
    out."""
    net = architecture.load(model, weights)
    inner = keras.Model(net.inputs[0], net.layers[-2].output, name="backbone")
    inner.trainable = False
    return inner


def with_preprocessing(model: Model, inner: Any) -> Any:
    """Put the preprocessing in front of a backbone.

    Batch normalisation keeps the statistics of its own training, also when layers are unfrozen: statistics of a few
    photos would be worse.
    """
    image = keras.Input((model.side, model.side, 3), name="image")
    return keras.Model(image, inner(architecture.preprocess(model, image), training=False))


def head(features: int, classes: int) -> Any:
    """The head: one layer from a backbone's features to the classes."""
    return keras.Sequential(
        [
            keras.Input((features,)),
            keras.layers.Dense(classes, activation="softmax", kernel_regularizer=keras.regularizers.L2(_HEAD_DECAY)),
        ],
        name="head",
    )


def joined(body: Any, top: Any) -> Any:
    """Put a head on a backbone."""
    return keras.Model(body.inputs[0], top(body.outputs[0]))


def unfreeze(inner: Any, layers: int) -> int:
    """Make the last `layers` layers with weights trainable, except batch normalisation. Returns their number."""
    able = [layer for layer in inner.layers if layer.weights and not isinstance(layer, keras.layers.BatchNormalization)]
    inner.trainable = True
    for layer in inner.layers:
        layer.trainable = layer in able[-layers:]
    return len(able[-layers:])


def _scaled(image: Any, grey: bool) -> Any:
    pixels = keras.layers.Rescaling(1 / 255)(image)
    return keras.ops.image.rgb_to_grayscale(pixels) if grey else pixels


def _block(x: Any, width: int, stride: int) -> Any:
    y = _normed(_conv(x, width, stride), relu=True)
    y = _normed(_conv(y, width))
    if stride > 1 or x.shape[-1] != width:
        x = _normed(_conv(x, width, stride, size=1))
    return keras.layers.ReLU()(keras.layers.Add()([x, y]))


def _conv(x: Any, width: int, stride: int = 1, size: int = 3) -> Any:
    return keras.layers.Conv2D(
        width,
        size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        kernel_regularizer=keras.regularizers.L2(_DECAY),
    )(x)


def _normed(x: Any, relu: bool = False) -> Any:
    x = keras.layers.BatchNormalization()(x)
    return keras.layers.ReLU()(x) if relu else x
