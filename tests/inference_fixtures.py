"""What the tests of inference share: the real model, the real photos, and models and engines that misbehave."""

from __future__ import annotations

import dataclasses
import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference import process
from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from inference.engines.openvino import OpenVino
from inference.model import Model
from inference.models import resnet50
from inference.preparing import prepare as preparation
from shoal import settings

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "static" / "examples"
PHOTOS = sorted(EXAMPLES.glob("*.jpg"))
EXPECTED: dict[str, str] = json.loads((EXAMPLES / "labels.json").read_text())

MAX_PIXELS = 50_000_000
MAX_BYTES = 20 * 1024 * 1024


@cache
def cache_dir() -> Path:
    """The real cache, with ResNet50 for OpenVINO in it; prepared once, if nobody did so before."""
    place = settings.load().cache_dir
    preparation.prepare("resnet50", "openvino", place, None, PHOTOS, print)
    return place


@cache
def recogniser() -> process.Recogniser:
    """ResNet50 on OpenVINO, not in int8, even if the cache has it."""
    return process.load(["resnet50"], "openvino", cache_dir(), None, MAX_PIXELS, MAX_BYTES, precision=FLOAT32)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of an image file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def cat() -> Image.Image:
    """A real photo of 451 x 300 pixels."""
    with Image.open(EXAMPLES / "cat.jpg") as photo:
        return photo.convert("RGB")


# The two below are named as "tests.inference_fixtures:..." where a test names a model or an engine.
# ResNet50 whose only source needs npm, so that nothing but the test decides whether there are weights.
ONLY_NPM: Model = dataclasses.replace(resnet50.MODEL, sources=resnet50.MODEL.sources[1:])


class _Shifted:
    def __init__(self, inner: Loaded) -> None:
        self._inner = inner
        self.batch = inner.batch

    def infer(self, batch: NDArray[Any]) -> Outputs:
        return tuple(np.roll(output, 1, axis=-1) for output in self._inner.infer(batch))


class WrongEngine(OpenVino):
    """Computes well and answers with the label beside the right one."""

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:
        return _Shifted(super().load(model, folder, threads, precision))


WRONG_ENGINE = WrongEngine()
