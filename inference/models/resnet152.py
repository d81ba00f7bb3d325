"""ResNet152 of keras.applications (He et al. 2015, arXiv:1512.03385), trained on ImageNet's 1,000 classes."""

from __future__ import annotations

from inference.model import KerasDownload, Model

MODEL = Model(
    name="resnet152",
    title="ResNet152",
    task="classify",
    side=224,
    keras=("resnet", "ResNet152"),
    sources=(
        KerasDownload(
            name="ResNet152",
            size=242_900_224,
            licence="MIT (K. He's ResNet weights, as ported by Keras)",
        ),
    ),
    labels="imagenet.csv",
)
