"""InceptionV3 of keras.applications (Szegedy et al. 2015, arXiv:1512.00567), trained on ImageNet's 1,000 classes."""

from __future__ import annotations

from inference.model import KerasDownload, Model

MODEL = Model(
    name="inception_v3",
    title="InceptionV3",
    task="classify",
    side=299,
    keras=("inception_v3", "InceptionV3"),
    sources=(
        KerasDownload(
            name="InceptionV3",
            size=96_112_376,
            licence="MIT (F. Chollet's port)",
        ),
    ),
    labels="imagenet.csv",
)
