"""A cache of links to the user's: a benchmark makes int8 in it, and the user's own stays as it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def linked_cache(cache_dir: Path, model_folder: str, target: Path) -> Path:
    """Make `target` a cache with one prepared model of `cache_dir`. Photos fetched through it stay in `cache_dir`."""
    shutil.copytree(cache_dir / "models" / model_folder, target / "models" / model_folder, copy_function=os.symlink)
    photos = cache_dir / "photos"
    photos.mkdir(exist_ok=True)  # a link to nothing is neither a folder nor free to become one
    (target / "photos").symlink_to(photos.resolve())
    return target
