"""Opens a dataset's images as a worker does, into one file of pixels.

The file is memory-mapped, so ten thousand photos need no more memory than ten.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from inference import images, user_files
from inference.photo_folders import readable
from inference.training.dataset import Arrays, Photos
from inference.training.parts import PARTS
from shoal.errors import Permanent

Decode = Callable[[bytes], NDArray[np.uint8]]
Step = Callable[[int, int], None]  # how many are done, of how many

_AT_ONCE = 64  # files that are opened at the same time
_ROOM = 1.2  # the free disk space that is required, relative to the size of the file


@dataclass(frozen=True, slots=True)
class Pictures:
    """Opened images.

    pixels:  uint8 RGB [N, side, side, 3], mapped from a file.
    labels:  number of the class, [N].
    given:   the part that the dataset gives to each, or "".
    names:   of the images in a report.
    skipped: (name, reason) of the images that were left out.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    given: tuple[str, ...]
    names: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def open_photos(photos: Photos, decode: Decode, side: int, max_bytes: int, file: Path, step: Step) -> Pictures:
    """Open photos into `file`. Skip unreadable files, and photos with the same pixels as an earlier one.

    A duplicate could otherwise be both in the training part and in the test part.
    """
    pixels = _mapped(file, len(photos), side)
    seen: dict[bytes, int] = {}
    kept: list[int] = []
    skipped: list[tuple[str, str]] = []
    for index, opened in enumerate(_opened(photos.paths, decode, max_bytes)):
        step(index + 1, len(photos))
        name = _name(photos, index)
        if isinstance(opened, str):
            skipped.append((name, opened))
            continue
        first = seen.setdefault(digest(opened), index)
        if first != index:
            skipped.append((name, f"shows the same as {_name(photos, first)}"))
            continue
        pixels[len(kept)] = opened
        kept.append(index)
    return Pictures(
        pixels[: len(kept)],
        np.array([photos.labels[index] for index in kept], dtype=np.int64),
        tuple(photos.given[index] for index in kept),
        tuple(_name(photos, index) for index in kept),
        tuple(skipped),
    )


def open_arrays(arrays: Arrays, side: int, file: Path, step: Step) -> Pictures:
    """Open the images of a .npz file, resized if they have another side, grey ones as RGB. None is left out: published
    figures are of all of them."""
    pixels = _mapped(file, len(arrays), side)
    row = 0
    for part in PARTS:
        if part not in arrays.given:
            continue
        for image in arrays.images(part):
            picture = Image.fromarray(image).convert("RGB")
            if picture.width != side:
                picture = picture.resize((side, side), Image.Resampling.BILINEAR)
            pixels[row] = np.asarray(picture)
            row += 1
            step(row, len(arrays))
    return Pictures(
        pixels,
        np.array(arrays.labels, dtype=np.int64),
        arrays.given,
        tuple(f"{part} {number}" for part in PARTS for number in range(arrays.given.count(part))),
    )


def digest(pixels: NDArray[np.uint8]) -> bytes:
    """A hash of an image's pixels, 16 bytes."""
    return hashlib.blake2b(pixels.tobytes(), digest_size=16).digest()


def _mapped(file: Path, count: int, side: int) -> NDArray[np.uint8]:
    needed, free = count * side * side * 3 * _ROOM, shutil.disk_usage(file.parent).free
    if free < needed:
        raise Permanent(
            f"{count} images need {needed / 1e6:.0f} MB in {file.parent.parent}, where {free / 1e6:.0f} MB are free"
        )
    return np.lib.format.open_memmap(file, "w+", dtype=np.uint8, shape=(count, side, side, 3))


def _opened(paths: Sequence[Path], decode: Decode, max_bytes: int) -> Iterator[NDArray[np.uint8] | str]:
    """The pixels of each file, in order, or the reason why it cannot be read."""

    def open_one(path: Path) -> NDArray[np.uint8] | str:
        try:
            with user_files.opened(path, user_files.DATASET_BYTES) as file:
                images.check_bytes(os.fstat(file.fileno()).st_size, max_bytes)
                payload = file.read(max_bytes + 1)
            images.check_size(payload, max_bytes)
            return decode(payload)
        except Permanent as error:  # BadImage is one
            return readable(str(error))
        except OSError as error:
            return error.strerror or str(error)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(paths), _AT_ONCE):
            yield from threads.map(open_one, paths[start : start + _AT_ONCE])


def _name(photos: Photos, index: int) -> str:
    return readable(photos.paths[index].relative_to(photos.folder))
