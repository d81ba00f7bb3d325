"""Finds a dataset: a folder with a folder of photos for each class, or a .npz file of small pictures.

This is fast and happens in the parent process, so that a wrong folder is reported at once; `pictures.py` opens images.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference import user_files
from inference.photo_folders import list_files, readable, tell_leftovers
from inference.training import layout
from inference.training.parts import PARTS, TEST, TRAIN, VALIDATION
from shoal.errors import Permanent

LEAST = 5  # images per class: three to train on, one to validate, one to test

_ARRAYS = {TRAIN: ("x_train", "y_train"), VALIDATION: ("x_validation", "y_validation"), TEST: ("x_test", "y_test")}


@dataclass(frozen=True, slots=True)
class Photos:
    """Images in files.

    classes: names, sorted.
    paths, labels, given: for each image its file, the number of its class, and the part (train, ...) that its folder
             names, or "".
    notes:   what else was seen in the folder, in words.
    """

    folder: Path
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: tuple[int, ...]
    given: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)


@dataclass(frozen=True, slots=True)
class Arrays:
    """Images in a .npz file, which is read when `images` is called. given: the part of each image."""

    file: Path
    classes: tuple[str, ...]
    labels: tuple[int, ...]
    given: tuple[str, ...]
    side: int
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, part: str) -> NDArray[np.uint8]:
        """[N, side, side] or [N, side, side, 3] of a part, in the order of `labels`."""
        with _arrays(self.file) as arrays:
            found: NDArray[np.uint8] = arrays[_ARRAYS[part][0]]
        return found[..., 0] if found.ndim == 4 and found.shape[-1] == 1 else found


Dataset = Photos | Arrays


def find(source: Path) -> Dataset:
    """Find the classes and the images of a dataset. Raises Permanent, whose text is one line."""
    if source.is_dir():
        found: Dataset = _in_folders(source)
    elif source.suffix == ".npz" and source.is_file():
        found = _in_arrays(source)
    elif source.exists():
        raise Permanent(f"{readable(source)} is neither a folder of photos nor a .npz file")
    else:
        raise Permanent(f"there is no {readable(source)}")
    if len(found.classes) < 2:
        one = f"one class only ({found.classes[0]})" if found.classes else "no classes"
        raise Permanent(f"{readable(source)} has {one}: give it a folder of photos for each of two classes or more")
    check_enough(found.classes, np.array(found.labels), source)
    return found


def check_enough(classes: tuple[str, ...], labels: NDArray[Any], source: Path) -> None:
    """Raise Permanent, which names the classes with fewer than LEAST images."""
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"{name} ({count})" for name, count in zip(classes, counts, strict=True) if count < LEAST]
    if few:
        raise Permanent(
            f"too few images in {readable(source)}: {', '.join(few)}; a class needs at least {LEAST} that can be read"
        )


def _in_folders(folder: Path) -> Photos:
    seen = layout.read(folder)
    classes = sorted({kind.name for kind in seen.classes})
    listed = [(kind, list_files(kind.path)) for kind in seen.classes]
    found = [(path, classes.index(kind.name), kind.part) for kind, inside in listed for path in inside.files]
    paths, labels, given = zip(*found, strict=True) if found else ((), (), ())
    notes = list(seen.notes)
    below = list_files(folder)
    if outside := len(set(below.files) - set(paths)):
        notes.append(f"{outside} files outside the folders of classes are not used")
    if below.leftovers:
        notes.append(tell_leftovers(below.leftovers))
    return Photos(folder, tuple(classes), paths, labels, given, tuple(notes))


def _in_arrays(file: Path) -> Arrays:
    try:
        with _arrays(file) as arrays:
            parts = [part for part in PARTS if _ARRAYS[part][0] in arrays]
            if TRAIN not in parts:
                raise Permanent(f"{file} has no x_train and y_train")
            shapes = {part: _shape(file, arrays, part) for part in parts}
            labels = [np.ravel(arrays[_ARRAYS[part][1]]) for part in parts]
            names = [str(name) for name in arrays["classes"]] if "classes" in arrays else []
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Permanent(f"{file} is not a .npz file of x_train, y_train, x_test and y_test: {error}") from error
    if len({side for _, side in shapes.values()}) > 1:
        raise Permanent(f"the images in {file} are not all of one size")
    together = np.concatenate(labels)
    classes = names or [str(number) for number in range(int(together.max()) + 1)]
    if together.min() < 0 or together.max() >= len(classes):
        raise Permanent(f"{file} has labels that are not between 0 and {len(classes) - 1}")
    given = tuple(part for part, (count, _) in shapes.items() for _ in range(count))
    return Arrays(file, tuple(classes), tuple(map(int, together)), given, shapes[TRAIN][1])


@contextmanager
def _arrays(path: Path) -> Iterator[Any]:
    """The arrays of a .npz file, which may not unpack to more than a dataset may have. Raises Permanent."""
    with user_files.opened(path, user_files.DATASET_BYTES) as file:
        with zipfile.ZipFile(file) as packed:
            size = sum(one.file_size for one in packed.infolist())
        if size > user_files.DATASET_BYTES:
            raise Permanent(f"{path} unpacks to {size / 1024**3:.0f} GB; at most 4 GB are read")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays


def _shape(file: Path, arrays: Any, part: str) -> tuple[int, int]:
    """The number of images of a part, and their side."""
    x, y = arrays[_ARRAYS[part][0]], arrays[_ARRAYS[part][1]]
    square = len(x) and x.ndim in (3, 4) and x.shape[1] == x.shape[2] and (x.ndim == 3 or x.shape[3] in (1, 3))
    if x.dtype != np.uint8 or not square:
        raise Permanent(f"{file}: {_ARRAYS[part][0]} must be uint8 of [N, side, side] or [N, side, side, 1 or 3]")
    if y.size != len(x) or not np.issubdtype(y.dtype, np.integer):
        raise Permanent(f"{file}: {_ARRAYS[part][1]} must be one whole number an image")
    return len(x), x.shape[1]
