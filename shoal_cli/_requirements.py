"""Reading requirements files. setup.py runs this too: standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def pins(file: Path) -> list[str]:
    """The packages that a requirements file names, `name==version` each, with those of the files it includes."""
    return sorted(set(_read(file)))


def _read(file: Path) -> Iterator[str]:
    for line in file.read_text(encoding="utf-8").splitlines():
        option, _, value = line.partition("#")[0].strip().partition(" ")
        if option == "-r":
            yield from _read(file.parent / value)
        elif option and option != "-c":
            yield option
