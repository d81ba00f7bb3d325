"""Where the controller's ledger lies and how it is read: JSON lines, one a decision. The controller writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

NAME = "ledger.jsonl"


def older(path: Path) -> Path:
    """Where a ledger's first half goes when it has grown too long."""
    return path.with_suffix(path.suffix + ".1")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a ledger, oldest first; none when there is none. A line that a crash cut short is passed over."""
    for part in (older(path), path):
        if not part.exists():
            continue
        with part.open(encoding="utf-8") as lines:
            yield from _entries(lines)


class Follower:
    """Reads a ledger as it grows, what it holds already included. One thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # the inode that was read last: a ledger that has grown too long is moved
        self._offset = 0

    def news(self) -> list[dict[str, Any]]:
        """The entries since the last call, oldest first. Raises OSError when there is no ledger that can be read."""
        at = self._path.stat()
        if at.st_ino == self._file and at.st_size >= self._offset:
            return self._rest(self._path)
        try:
            moved = older(self._path).stat().st_ino
            self._offset = self._offset if moved == self._file else 0
            found = self._rest(older(self._path))
        except FileNotFoundError:
            found = []
        self._file, self._offset = at.st_ino, 0
        return found + self._rest(self._path)

    def _rest(self, path: Path) -> list[dict[str, Any]]:
        with path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text.rpartition(b"\n")[0]  # the last line may be half written
        self._offset += len(whole) + bool(whole)
        return list(_entries(whole.decode(errors="replace").splitlines()))


def _entries(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict):
            yield entry
