"""The example photos on the upload page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True, slots=True)
class Example:
    """A photo in static/examples. title: what it shows, in words."""

    file: str
    title: str

    @property
    def small(self) -> str:
        """The file that the page shows, a tenth of the size."""
        return f"small/{Path(self.file).stem}.webp"


def find_examples(folder: Path) -> list[Example]:
    """The photos in `folder`, sorted by name. `labels.json` in it maps file names to labels."""
    if not folder.is_dir():
        return []
    labels = _labels(folder / "labels.json")
    files = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return [Example(name, labels.get(name) or _title(name)) for name in files]


def _labels(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: _title(label) for name, label in found.items() if isinstance(label, str)}


def _title(name: str) -> str:
    return Path(name).stem.replace("_", " ").replace("-", " ")
