"""`python -m benchmarks.training`: what `shoal train` reaches on data that each installation has or can fetch.

CIFAR-10 and Fashion-MNIST are separate downloads and not needed here; `shoal train` takes them as .npz files. Photos:
see `benchmarks.photos`; a person gave each its class. Digits: scikit-learn's 1,797 (UCI, Alpaydin and Kaynak 1998, CC
BY 4.0), as they are, and moved on a canvas, which is harder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import photos
from shoal.settings import load

_NAME = "benchmark-training"  # how the names of its models begin
SEEDS = 3  # of the photos, of which there are few to judge by
DIGITS_TEST = 0.3

# Photos of ai-benchmark and of VOC and COCO in clarifai. What fits none of the classes, or two, is left out.
_CLASSES = {
    "bird": "0 6 8 11 13 15 18 21 48 51 55 67 72 74 82 2009_004315",
    "mammal": "2 3 4 76 79 80 81 83 84 85 86 88 89 90 92 93 94 95 96 97 98 2007_000464 2009_004382 2011_000430",
    "other_animal": "5 19 22 23 26 29 31 34 37 41 43 47 60 64",
    "vehicle": "10 12 25 27 28 32 45 46 59 65 68 75 78",
    "thing": "9 14 16 20 24 30 33 35 36 38 39 40 44 49 50 52 53 58 61 63 69 71 73 77 99 000000182202 000000409630",
}

console = Console(highlight=False)


def main() -> None:
    """Train, and print a table of the results."""
    cache_dir = load().cache_dir
    with tempfile.TemporaryDirectory(prefix="shoal-train-") as name:
        work = Path(name)
        photos_folder, plain, moved = work / "photos", work / "digits.npz", work / "moved.npz"
        sort_photos(photos.fetch(cache_dir), photos_folder)
        save_digits(plain, *digits())
        save_digits(moved, *on_canvas(*digits()))
        table = Table("", "test images", "right", "seconds", title="shoal train")
        try:
            for seed in range(SEEDS):
                _row(table, f"photos, ResNet50, seed {seed}", photos_folder, "--seed", str(seed))
            for title, file in (("digits", plain), ("moved digits", moved)):
                for net in ("flat", "resnet_small"):
                    _row(table, f"{title}, {net}", file, "--from-scratch", net, "--side", "28", "--grey")
        finally:  # what was learned before something broke took minutes
            console.print(table)
            for folder in (cache_dir / "models", cache_dir / "training"):
                for left in folder.glob(f"{_NAME}-*"):
                    shutil.rmtree(left)


def sort_photos(found: Sequence[Path], folder: Path) -> None:
    """A folder for each class: nine, with four of Food-101's."""
    by_number = {path.stem: path for path in found if "food-101" not in path.parts}
    classes: Mapping[str, list[Path]] = {
        name: [by_number[number] for number in numbers.split()] for name, numbers in _CLASSES.items()
    }
    food = {name: [path for path in found if path.parent.name == name] for name in _food(found)}
    for name, paths in {**classes, **food}.items():
        (folder / name).mkdir(parents=True)
        for path in paths:
            (folder / name / path.name).symlink_to(path.resolve())


def _food(found: Sequence[Path]) -> set[str]:
    return {path.parent.name for path in found if "food-101" in path.parts}


def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """8 x 8 grey pixels of 0 to 255, white on black, and the digit of each."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    found = load_digits()
    return (found.images * (255 / 16)).astype(np.uint8), found.target


def on_canvas(
    images: NDArray[np.uint8], labels: NDArray[np.int64], seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Each digit at twice its size, anywhere on 28 x 28 pixels with noise."""
    random = np.random.default_rng(seed)
    canvases = random.normal(0.2, 0.1, (len(images), 28, 28))
    for canvas, image in zip(canvases, images, strict=True):
        left, top = random.integers(0, 28 - 16 + 1, 2)
        large = Image.fromarray(image).resize((16, 16), Image.Resampling.BILINEAR)
        canvas[top : top + 16, left : left + 16] += np.asarray(large) * (0.7 / 255)
    return (canvases.clip(0, 1) * 255).astype(np.uint8), labels


def save_digits(file: Path, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    """As .npz. The last DIGITS_TEST are the test set: other people wrote them than the first."""
    test = round(len(images) * (1 - DIGITS_TEST))
    np.savez(file, x_train=images[:test], y_train=labels[:test], x_test=images[test:], y_test=labels[test:])


def _row(table: Table, title: str, dataset: Path, *options: str) -> None:
    began = time.perf_counter()
    command = [sys.executable, "-m", "shoal_cli", "train", "--dataset", str(dataset), "--replace", *options]
    done = subprocess.run([*command, "--name", f"{_NAME}-{dataset.stem}"], check=True, capture_output=True, text=True)
    seconds = time.perf_counter() - began
    report = next(line for line in done.stdout.splitlines() if line.startswith("report: ")).removeprefix("report: ")
    found = json.loads(Path(report).with_name("metrics.json").read_text())["figures"]
    right = f"{found['accuracy']:.1%} ({found['low']:.1%} to {found['high']:.1%})"
    table.add_row(title, str(found["images"]), right, f"{seconds:.0f}")


if __name__ == "__main__":
    main()
