"""Photos of one colour, and an engine that takes the colour for the label.

So it is known beforehand which label each photo must get, and a result that went to the wrong photo is noticed. All
else of a worker is real: its decoder, its pipeline, its messages, its end.
"""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.running import stub_engine
from inference import model as models
from inference.answer import Outputs
from inference.arithmetic import FLOAT32
from inference.engines import Loaded
from inference.model import Model, labels

NAME = "benchmarks.torture.colours:ENGINE"
MODEL = "resnet50"

_LEVELS = 25  # of red and of green: 625 colours, each a class
_STEP = 10
_FIRST = 7  # the darkest level, so that what JPEG loses leads to no other level
_KINDS = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("BMP", "bmp"))


def draw(choice: random.Random) -> tuple[bytes, str, str]:
    """A photo of a random colour, format and size: its bytes, the suffix of its name, and the label it must get."""
    number = choice.randrange(_LEVELS**2)
    red, green = (_FIRST + _STEP * level for level in divmod(number, _LEVELS))
    kind, suffix = choice.choice(_KINDS)
    size = (choice.randint(40, 400), choice.randint(40, 400))
    file = io.BytesIO()
    Image.new("RGB", size, (red, green, choice.randrange(256))).save(file, kind)
    return file.getvalue(), suffix, _names()[number]


@cache
def _names() -> tuple[str, ...]:
    return tuple(name for _, name in labels(models.by_name(MODEL).labels))


class _LoadedColours:
    batch = 8

    def infer(self, batch: NDArray[Any]) -> Outputs:
        means = batch[..., :2].mean(axis=(1, 2))  # of red and of green
        levels = np.clip(np.rint((means - _FIRST) / _STEP), 0, _LEVELS - 1).astype(int)
        answers = np.zeros((len(batch), 1000), np.float32)
        answers[np.arange(len(batch)), levels[:, 0] * _LEVELS + levels[:, 1]] = 1.0
        return (answers,)


class ColourEngine:
    """See `inference.engines.Engine`."""

    def convert(self, net: Any, folder: Path) -> None:
        """Write nothing."""

    def precisions(self) -> tuple[str, ...]:
        """Return float32 alone."""
        return (FLOAT32,)

    def load(self, model: Model, folder: Path, threads: int | None = None, precision: str = FLOAT32) -> Loaded:  # noqa: ARG002 - the protocol's signature
        """Return at once."""
        return _LoadedColours()


ENGINE = ColourEngine()


def prepare(cache_dir: Path) -> None:
    """Write what a worker looks for into a cache folder."""
    stub_engine.prepare(cache_dir, NAME)
