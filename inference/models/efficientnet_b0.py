"""EfficientNetB0 of keras.applications (Tan and Le 2019, arXiv:1905.11946), trained on ImageNet's 1,000 classes."""

from __future__ import annotations

from inference.model import KerasDownload, Model

MODEL = Model(
    name="efficientnet_b0",
    title="EfficientNetB0",
    task="classify",
    side=224,
    keras=("efficientnet", "EfficientNetB0"),
    sources=(
        KerasDownload(
            name="EfficientNetB0",
            size=21_834_768,
            licence="Apache-2.0 (Google's weights, as ported by Keras)",
        ),
    ),
    labels="imagenet.csv",
)
