"""The example photos that the upload page offers to whoever has none at hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True, slots=True)
class Example:
    """A photo in static/examples: its file name, and in words what it shows."""

    file: str
    title: str

    @property
    def small(self) -> str:
        """The file of its picture on the page, a tenth as heavy."""
        return f"small/{Path(self.file).stem}.webp"


def find_examples(folder: Path) -> list[Example]:
    """The photos in `folder`, in the order of their names; `labels.json` there maps a file name to its label."""
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
