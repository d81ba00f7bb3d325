"""Writes the state of a Shoal into one archive, while it runs or not."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from shoal import __version__
from shoal.errors import Permanent
from shoal.state_folder import contents

FORMAT = 1
HEAD, END = "shoal-backup.json", "end-of-backup.json"  # the first and the last member of an archive
STATE = "state"  # the folder in the archive
PATIENCE_SECONDS = 2.0  # until two files that never fit together are taken as they are


@dataclass(frozen=True, slots=True)
class BackupHead:
    """What an archive says of itself.

    prefix: SHOAL_PREFIX, the first part of all names.  made: seconds since 1970.
    models: the models that labelled, which are not in the archive: name -> version of its files.
    """

    format: int
    version: str
    prefix: str
    made: float
    models: Mapping[str, str] = field(default_factory=dict)


def write(folder: Path, target: Path, prefix: str, models: Mapping[str, str]) -> int:
    """Write the state in `folder` to the archive `target`, which only its owner can read; returns its files.

    models: as in BackupHead.

    An archive of this name is replaced when the new one is whole. Raises Permanent and OSError.
    """
    folder, target = folder.resolve(), target.absolute()
    if target.is_relative_to(folder) or target.resolve().is_relative_to(folder):
        raise Permanent(f"{target} is in the state folder itself: name a file outside of {folder}")
    if not folder.is_dir() or not contents.any_state(folder):
        raise Permanent(f"there is no state in {folder}: set SHOAL_STATE_DIR to the folder of a Shoal")
    if target.exists() and not target.is_file():
        raise Permanent(f"{target} is no file")
    count = 0
    with _new_archive(target) as archive:
        head = BackupHead(FORMAT, __version__, prefix, time.time(), models)
        _add(archive, HEAD, json.dumps(asdict(head)).encode(), head.made)
        for together in contents.files(folder):
            for path, content, changed in _read(together):
                _add(archive, f"{STATE}/{path.relative_to(folder)}", content, changed)
                count += 1
        _add(archive, END, json.dumps({"files": count}).encode(), head.made)
    return count


@contextmanager
def _new_archive(target: Path) -> Iterator[tarfile.TarFile]:
    """An archive that becomes `target` at the end, on disk; an error leaves `target` as it was."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with open(draft, "xb", opener=_open_private) as file:
            # Photos cannot be compressed further: the fastest level.
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=1, format=tarfile.PAX_FORMAT) as archive:
                yield archive
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _add(archive: tarfile.TarFile, name: str, content: bytes, changed: float) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), 0o600, int(changed)
    archive.addfile(member, io.BytesIO(content))


def _read(together: contents.Together) -> list[tuple[Path, bytes, float]]:
    """The files' contents, of one moment; nothing when one was deleted meanwhile.

    Files are replaced as a whole, the first of a pair before the second. So a pair fits together when none was replaced
    while it was read and the second is not older than the first.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            before = [path.stat() for path in together]
            found = [path.read_bytes() for path in together]
            after = [path.stat() for path in together]
            same = all(
                (a.st_ino, a.st_mtime_ns) == (b.st_ino, b.st_mtime_ns) for a, b in zip(before, after, strict=True)
            )
            ordered = before[0].st_mtime_ns <= before[-1].st_mtime_ns
            if len(together) == 1 or (same and ordered) or time.monotonic() > deadline:
                return [(path, content, at.st_mtime) for path, content, at in zip(together, found, after, strict=True)]
            time.sleep(0.01)
    except FileNotFoundError:
        return []
