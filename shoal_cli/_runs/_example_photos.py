"""A folder of many photos made of the few examples: parts of them, some mirrored. The same each time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

LEAST_PART = 0.7  # of width and height, that a photo shows of its example


def make_photos(examples: Sequence[Path], folder: Path, first: int, count: int) -> None:
    """Write photos with the numbers from `first` on: 0007-cat.jpg."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        example = examples[number % len(examples)]
        with Image.open(example) as image:
            _part(image, random.Random(number)).save(folder / f"{number:04d}-{example.name}", quality=85)


def _part(image: Image.Image, choice: random.Random) -> Image.Image:
    width, height = (round(side * choice.uniform(LEAST_PART, 1)) for side in image.size)
    left, top = choice.randint(0, image.width - width), choice.randint(0, image.height - height)
    part = image.crop((left, top, left + width, top + height))
    return ImageOps.mirror(part) if choice.random() < 0.5 else part
