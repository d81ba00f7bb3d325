"""A bucket in a folder of this machine: one file an object, for `shoal serve`."""

from __future__ import annotations

import errno
import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.errors import NotFound, Permanent, Retryable, StorageFull
from shoal.ports import StoredObject

UNFINISHED = ".new-"  # the first part of the name of a file that is being written


class FolderStore:
    """An ObjectStore. The key `a/b/c` is the file `a/b/c`. Safe for many threads and processes."""

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
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFound(f"there is no object {key!r}") from None

    def list(self, prefix: str, after: str = "") -> Iterator[StoredObject]:
        """List the objects whose key starts with `prefix` and sorts after `after`, ordered by key."""
        top = self._folder / prefix.rpartition("/")[0]
        found = []
        for place, _, names in os.walk(top):
            for name in names:
                path = Path(place, name)
                key = path.relative_to(self._folder).as_posix()
                if name.startswith(UNFINISHED) or not key.startswith(prefix) or key <= after:
                    continue
                with suppress(FileNotFoundError):
                    status = path.stat()
                    found.append(StoredObject(key, status.st_size, status.st_mtime))
        return iter(sorted(found, key=lambda one: one.key))

    def delete(self, key: str) -> None:
        """Delete an object; no error when it does not exist."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if any(part in ("", ".", "..") for part in key.split("/")):
            raise Permanent(f"{key!r} is not the key of an object")
        return self._folder / key

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
