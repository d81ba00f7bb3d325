"""Reads an archive of `backup` into a state folder: all of it or nothing."""

from __future__ import annotations

import errno
import gzip
import os
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NoReturn, Self

from shoal.errors import MalformedMessage, Permanent
from shoal.lifecycle import SERVE_LOCK, UP_LOCK, holder
from shoal.safe_json import integer, number, read_object, text
from shoal.settings import in_force
from shoal.state_folder import contents
from shoal.state_folder.backup import END, FORMAT, HEAD, STATE, BackupHead

_LOCKS = (UP_LOCK, SERVE_LOCK, in_force.LOCK, "cloud/lock")
_LARGEST_NOTE = 100_000  # bytes of the first and of the last member
_DAMAGE = (
    *(tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError),
    *(ValueError, KeyError, OverflowError, MalformedMessage, RecursionError),
)
_LARGEST_HEADER = 64 * 1024  # bytes of what stands before a member with a long name
# What a backup may unpack to. Photos do not shrink at all, a ledger to a fifteenth, a bomb of zeros to a thousandth.
_MOST_TIMES, _SMALL_BYTES = 200, 256 * 1024**2
_LEFT_BYTES = 256 * 1024**2  # of the disk, for others


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done.  before: where the state is that was in the folder, None when it was empty."""

    head: BackupHead
    files: int
    before: Path | None


def read(source: Path, folder: Path, replace: bool = False) -> Restored:
    """Read the archive `source` into the state folder. Its files can be read by their owner alone.

    replace: move a state that is there aside, do not refuse. Raises Permanent and OSError; nothing has changed then.
    """
    folder = folder.resolve()
    _check_free(folder, replace)
    with _movable(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.restoring-", dir=folder.parent))
    try:
        head, count = _unpack(source, draft)
        _check_free(folder, replace)
        with _movable(folder):
            before = _put_in_place(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Restored(head, count, before)


@contextmanager
def _movable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Permanent(
            f"{folder} cannot be put in place ({error.strerror}), nothing was changed: it must be a folder in "
            "one that you may write to, and no mount point"
        ) from error


def _check_free(folder: Path, replace: bool) -> None:
    for name in _LOCKS:
        if holder(folder / name) is not None:
            raise Permanent(f"a Shoal runs in {folder}: stop it first (`shoal down`)")
    if not replace and folder.exists() and contents.any_state(folder):
        raise Permanent(f"{folder} holds a state: --replace moves it aside, or set SHOAL_STATE_DIR to another folder")


def _put_in_place(draft: Path, folder: Path) -> Path | None:
    """Rename `draft` to `folder`; what is there moves aside. Returns its new name, None when there was nothing."""
    with suppress(OSError):
        folder.rmdir()
    if not folder.exists():
        draft.rename(folder)
        return None
    names = (f"{folder.name}.before-{time.strftime('%Y%m%d-%H%M%S')}{again}" for again in ("", "-2", "-3"))
    aside = next(path for path in map(folder.with_name, names) if not path.exists())
    folder.rename(aside)
    try:
        draft.rename(folder)
    except OSError:
        aside.rename(folder)
        raise
    return aside


def _unpack(source: Path, draft: Path) -> tuple[BackupHead, int]:
    """Write the files of the archive into `draft`. Raises Permanent when it is not a whole backup."""
    try:
        with _members(source) as members:
            head = _head(members)
            room = _Room(draft, source.stat().st_size)
            for count, (member, content) in enumerate(members):
                if member.name == END:
                    _check_end(content, count, members)
                    return head, count
                room.take(member.size)
                _write(draft, member, content)
    except _DAMAGE as error:
        raise Permanent(f"{source} is damaged, nothing was changed: {error}") from error
    raise Permanent(f"{source} is cut short, nothing was changed: its last part is missing")


class _Room:
    """The space that an archive of so many bytes may take on the disk of `folder`."""

    def __init__(self, folder: Path, archive_bytes: int) -> None:
        self._folder = folder
        self._left = max(_SMALL_BYTES, _MOST_TIMES * archive_bytes)

    def take(self, size: int) -> None:
        """Take the space of one file, before it is written. Raises ValueError for a bomb, Permanent for a full disk."""
        self._left -= size
        if self._left < 0:
            raise ValueError(f"it unpacks to more than {_MOST_TIMES} times its size, which no backup does")
        free = shutil.disk_usage(self._folder).free - _LEFT_BYTES
        if size > free:
            raise Permanent(
                f"the disk of {self._folder.parent} has {max(0, free) // 1024**2:,} MB for the next file of the "
                f"backup, which needs {size // 1024**2 + 1:,} MB: nothing was changed"
            )


class _PlainMember(tarfile.TarInfo):
    """A member as `backup` writes it. Raises ValueError for one whose header takes memory before it is looked at."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        found = super().frombuf(buf, encoding, errors)
        plain = found.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
        unbounded = found.type in (tarfile.XGLTYPE, tarfile.GNUTYPE_SPARSE)  # all global headers are kept
        if unbounded or (not plain and not 0 <= found.size <= _LARGEST_HEADER):
            raise ValueError(f"{found.name!r} has a header that no backup has")
        return found

    def _proc_gnusparse_10(self, *_: object) -> NoReturn:
        # tarfile reads the map of a sparse file, however long it is, before it returns the member.
        raise ValueError("it holds a sparse file")


Members = Iterator[tuple[tarfile.TarInfo, IO[bytes]]]


@contextmanager
def _members(source: Path) -> Iterator[Members]:
    """The files in the archive, one after another. After the last one the archive's checksum has been compared."""
    if not source.is_file():
        raise Permanent(f"there is no file {source}")
    with gzip.open(source) as plain, tarfile.open(fileobj=plain, mode="r|", tarinfo=_PlainMember) as archive:

        def members() -> Members:
            for member in archive:
                archive.members.clear()  # type: ignore[attr-defined]  # it would keep millions of them
                content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
                if content is None:
                    raise Permanent(f"{source} holds {member.name!r}, which is no plain file: nothing was changed")
                yield member, content
            while plain.read(1 << 20):  # to the checksum at the end
                pass

        yield members()


def _head(members: Members) -> BackupHead:
    member, content = next(members, (None, None))
    if member is None or content is None or member.name != HEAD:
        raise ValueError("it is not a backup of Shoal")
    fields = read_object(content.read(_LARGEST_NOTE), "backup")
    named = fields.get("models", {})  # earlier versions named none
    if not isinstance(named, dict):
        raise ValueError("its models are no object")
    models = {text(name): text(version) for name, version in named.items()}
    head = BackupHead(
        integer(fields["format"]), text(fields["version"]), text(fields["prefix"]), number(fields["made"]), models
    )
    if head.format > FORMAT:
        raise Permanent(f"the backup was made by Shoal {head.version}, which is newer: bring this one up to date")
    return head


def _check_end(content: IO[bytes], count: int, members: Members) -> None:
    said = integer(read_object(content.read(_LARGEST_NOTE), "end of the backup")["files"])
    if said != count:
        raise ValueError(f"{count} of {said} files are in it")
    if next(members, None) is not None:
        raise ValueError("something stands behind its end")


def _write(draft: Path, member: tarfile.TarInfo, content: IO[bytes]) -> None:
    """Write one file below `draft`. Raises ValueError for a name that leads elsewhere or stands there twice."""
    part = PurePosixPath(member.name)
    within = part.parts[1:]
    if part.parts[:1] != (STATE,) or not within or ".." in within or "\0" in member.name or str(part) != member.name:
        raise ValueError(f"the name {member.name!r} is not one of a state")
    path = draft.joinpath(*within)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(path, "xb", opener=_open_private) as file:
            shutil.copyfileobj(content, file, 1 << 20)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise ValueError(f"the name {member.name!r} stands there twice") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ValueError("a name in it is too long") from None
        raise
    os.utime(path, (member.mtime, member.mtime))


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
