"""A bucket in a folder of this machine: one file an object, for `shoal serve`.

The key `a/b/c` is the file `a/b/c`, but for photos and results: `<batch>/<index>/<name>` is the file
`at-<six digits>/<batch>,<index>,<name>`. Batch ids begin with the time, so a folder `at-...` has those of about half a
minute. A folder of its own for each photo took ten times as long to make as the file, and it is made for each answer.
"""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.errors import NotFound, Permanent, Retryable, StorageFull
from shoal.messages import MAX_NAME_BYTES, is_batch
from shoal.ports import StoredObject

UNFINISHED = ".new-"  # the first part of the name of a file that is being written
TOGETHER = "at-"  # the first part of the name of a folder with files of several batches
TIME_DIGITS = 6  # of a batch id that name such a folder: the time in steps of 32,768 ms
SEPARATOR = ","  # neither a batch id nor an index nor a model has one


class FolderStore:
    """An ObjectStore. Safe for many threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = secrets.token_hex(8)  # apart from other processes that write here
        self._count = itertools.count()

    def put(self, key: str, body: bytes, content_type: str) -> None:  # noqa: ARG002 - the port's signature
        """Write or overwrite an object."""
        with self._written(key, body) as (unfinished, path):
            unfinished.replace(path)

    def put_new(self, key: str, body: bytes, content_type: str) -> bool:  # noqa: ARG002 - the port's signature
        """Write an object unless the key exists."""
        with self._written(key, body) as (unfinished, path):
            try:
                os.link(unfinished, path)
            except FileExistsError:
                return False
            finally:
                unfinished.unlink()
        return True

    def get(self, key: str) -> bytes:
        """Read an object. Raises NotFound."""
        for path in (self._path(key), self._folder / key):  # the second is of an older version
            with suppress(FileNotFoundError, IsADirectoryError, NotADirectoryError):
                return path.read_bytes()
        raise NotFound(f"there is no object {key!r}")

    def list(self, prefix: str, after: str = "", most: int | None = None) -> Iterator[StoredObject]:
        """List the objects whose key starts with `prefix` and sorts after `after`, ordered by key; the first `most`."""
        found = []
        for top in self._places(prefix):
            for place, _, names in os.walk(top):
                folder = Path(place).relative_to(self._folder).as_posix()
                for name in names:
                    key = _key_of(folder, name)
                    if name.startswith(UNFINISHED) or not key.startswith(prefix) or key <= after:
                        continue
                    with suppress(FileNotFoundError):
                        status = Path(place, name).stat()
                        found.append(StoredObject(key, status.st_size, status.st_mtime))
        return iter(sorted(found, key=lambda one: one.key)[:most])

    def delete(self, key: str) -> None:
        """Delete an object; no error when it does not exist."""
        for path in (self._path(key), self._folder / key):
            with suppress(FileNotFoundError, NotADirectoryError):
                path.unlink()

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") for part in parts) or key.startswith(TOGETHER):
            raise Permanent(f"{key!r} is not the key of an object")
        if len(parts) == _PARTS and is_batch(parts[0]) and len(key.encode()) <= MAX_NAME_BYTES:
            return self._together(parts[0]) / SEPARATOR.join(parts)
        return self._folder / key

    def _together(self, batch: str) -> Path:
        return self._folder / f"{TOGETHER}{batch[:TIME_DIGITS]}"

    def _places(self, prefix: str) -> Iterator[Path]:
        """The folders that have the objects whose key starts with `prefix`."""
        yield self._folder / prefix.rpartition("/")[0]
        first, slash, _ = prefix.partition("/")
        if slash and is_batch(first):
            yield self._together(first)

    @contextmanager
    def _written(self, key: str, body: bytes) -> Iterator[tuple[Path, Path]]:
        """A file with `body` beside the object, and the path of the object. The first is gone at the end.

        Every photo that is labelled in a web process passes here: so there are no calls but those that write.
        """
        path = self._path(key)
        unfinished = path.parent / f"{UNFINISHED}{self._own}-{next(self._count)}"
        try:
            _write(unfinished, body)
            yield unfinished, path
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFull(f"the disk of {self._folder} is full") from error
            raise Retryable(f"cannot write in {self._folder}: {error.strerror}") from error


_PARTS = 3  # of the key of a photo


def _key_of(folder: str, name: str) -> str:
    """The key of the file `name` in `folder`, which is relative to the store's."""
    if folder == ".":
        return name
    return name.replace(SEPARATOR, "/", _PARTS - 1) if folder.startswith(TOGETHER) else f"{folder}/{name}"


def _write(path: Path, body: bytes) -> None:
    """Write a new file, in a folder that may be missing."""
    try:
        file = path.open("xb", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb", buffering=0)
    with file:
        rest = memoryview(body)
        while rest:
            rest = rest[file.write(rest) :]
