"""Writes a file that is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A path to write a file at. The file gets its name at the end, and is deleted when there was an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """The same for a text file, opened."""
    with whole_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def as_json(value: Any) -> str:
    """As JSON in one line."""
    return json.dumps(value, ensure_ascii=False)


def write_joined(file: TextIO, items: Iterable[str]) -> None:
    """Write the items of a JSON list or object, a line each, with commas between them."""
    comma = ""
    for item in items:
        file.write(f"{comma}\n{item}")
        comma = ","
    file.write("\n")
