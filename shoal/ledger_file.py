"""The file of the controller's ledger: where it is, and how it is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from shoal.errors import MalformedMessage
from shoal.ledger import Entry

NAME = "ledger.jsonl"


def older(path: Path) -> Path:
    """Where the older half of a ledger is, once it has grown too long."""
    return path.with_suffix(path.suffix + ".1")


def read(path: Path) -> Iterator[Entry]:
    """The entries of a ledger, oldest first; none when there is no file. Broken lines are passed over."""
    for part in (older(path), path):
        if part.exists():
            with part.open(encoding="utf-8", errors="replace") as lines:
                yield from _entries(lines)


def last_acting(path: Path) -> Entry | None:
    """The newest entry of a controller that acted, not of a dry run; None without one."""
    last = None
    for entry in read(path):
        last = last if entry.dry_run else entry
    return last


def hindrance(path: Path) -> str:
    """Why photos wait although more machines are wanted, by the newest entry that acted; "" when nothing is refused."""
    last = last_acting(path)
    return last.hindrance if last and last.backlog else ""


class Follower:
    """Reads a ledger as it grows. The first call of `news` returns all that it holds. One thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = 0  # the inode that was read last: a ledger that has grown too long is moved
        self._offset = 0

    def news(self) -> list[Entry]:
        """The entries since the last call, oldest first. Raises OSError when no ledger can be read."""
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

    def _rest(self, path: Path) -> list[Entry]:
        with path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text.rpartition(b"\n")[0]  # the last line may be half written
        self._offset += len(whole) + bool(whole)
        return list(_entries(whole.decode(errors="replace").split("\n")))


def _entries(lines: Iterable[str]) -> Iterator[Entry]:
    for line in lines:
        try:
            yield Entry.from_json(line)
        except MalformedMessage:
            continue  # cut short by a crash
