"""Real photos without labels, to calibrate on and to compare with.

They are fetched from two PyPI wheels (both Apache-2.0), verified, and kept in the cache folder: 100 photos like those
of ImageNet from ai-benchmark, and 60 from clarifai (40 of Food-101, 10 of COCO, 10 of Pascal VOC).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from inference import user_files
from inference.preparing.sources import fetch_wheel

CALIBRATION, HELD_OUT = "PyPI clarifai==9.7.0", "PyPI ai-benchmark==0.1.1"

# name, version, sha256, folder of photos in the wheel
_WHEELS = (
    (
        "ai-benchmark",
        "0.1.1",
        "d96745ee6d8f09069ddc55fe5d9c9a417c3a3e47ce2d22f250278501af59e036",
        "ai_benchmark/data/classification/",
    ),
    (
        "clarifai",
        "9.7.0",
        "4bb8cda5d0b279fa2bfb67bbf290d900291246ef5ab16072d79195533e0890bf",
        "clarifai/data_upload/examples/",
    ),
)


def fetch(cache_dir: Path) -> list[Path]:
    """All 160 photos, 20 to 100 KB each, in `<cache_dir>/photos`; they are fetched once.

    Raises Retryable without a network, Permanent for a wrong checksum.
    """
    return sorted(path for wheel in _WHEELS for path in _unpacked(cache_dir, *wheel).rglob("*.jpg"))


def fetch_two_sources(cache_dir: Path) -> tuple[list[Path], list[Path]]:
    """The photos of clarifai, and those of ai-benchmark. They are fetched at the same time: pip mostly waits.

    Raises what `fetch` raises.
    """
    with ThreadPoolExecutor(len(_WHEELS)) as fetchers:
        folders = list(fetchers.map(lambda wheel: _unpacked(cache_dir, *wheel), _WHEELS))
    benchmark, clarifai = (sorted(folder.rglob("*.jpg")) for folder in folders)
    return clarifai, benchmark


def divide(photos: Sequence[Path], first: int) -> tuple[list[Path], list[Path]]:
    """Divide the photos into `first` photos and the rest by the hash of their content: the same on every machine."""
    order = sorted(photos, key=lambda path: hashlib.sha256(user_files.read(path, user_files.PHOTO_BYTES)).digest())
    return order[:first], order[first:]


def _unpacked(cache_dir: Path, name: str, version: str, sha256: str, inside: str) -> Path:
    folder = cache_dir / "photos" / name
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=folder.parent))
    try:
        with zipfile.ZipFile(fetch_wheel(name, version, sha256, scratch)) as wheel:
            for entry in wheel.namelist():
                # The pictures of CIFAR-10 are only 32 pixels wide.
                if entry.startswith(inside) and entry.endswith(".jpg") and "cifar10" not in entry:
                    target = scratch / name / entry.removeprefix(inside)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(wheel.read(entry))
        with contextlib.suppress(OSError):  # another process was faster
            (scratch / name).rename(folder)
    finally:
        shutil.rmtree(scratch)
    return folder
