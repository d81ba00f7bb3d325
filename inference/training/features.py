"""Features of a frozen backbone: computed once, and kept for the next training on the same images."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.training.pictures import Step, digest
from inference.training.views import KINDS, view

Run = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # [N, side, side, 3] -> [N, features]
Wanted = tuple[int, int]  # index of an image, number of its view; view 0 is the image as it is

_BATCH = 16


def compute(
    pixels: NDArray[np.uint8], wanted: Sequence[Wanted], kind: str, run: Run, file: Path, step: Step
) -> NDArray[Any]:
    """Features [len(wanted), features] of views of a kind (see `views.KINDS`).

    Features in `file` are not computed again. Afterwards `file` holds exactly the features that were asked for. A view
    depends only on the image, the kind and the view's number, so the same images always have the same views. Memory:
    four bytes per feature (ResNet50: 8 KB per view).
    """
    keys = [digest(pixels[index]) + bytes([number and KINDS.index(kind), number]) for index, number in wanted]
    known = _read(file)
    missing = [row for row, key in enumerate(keys) if key not in known]
    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        found = run(np.stack([_seen(pixels, wanted[row], kind, keys[row]) for row in batch]))
        known |= {keys[row]: values for row, values in zip(batch, found, strict=True)}
        step(min(start + _BATCH, len(missing)), len(missing))
    rows = np.stack([known[key] for key in keys])
    if missing:
        _write(file, keys, rows)
    return rows


def _seen(pixels: NDArray[np.uint8], wanted: Wanted, kind: str, key: bytes) -> NDArray[np.uint8]:
    index, number = wanted
    return view(kind, pixels[index], np.random.default_rng(list(key))) if number else pixels[index]


def _read(file: Path) -> dict[bytes, NDArray[np.float32]]:
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(file) as kept:
        return {bytes(key): row for key, row in zip(kept["keys"], kept["rows"], strict=True)}
    return {}


def _write(file: Path, keys: Sequence[bytes], rows: NDArray[np.float32]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}")
    with draft.open("wb") as out:
        np.savez(out, keys=np.array([list(key) for key in keys], dtype=np.uint8), rows=rows)
    draft.replace(file)
