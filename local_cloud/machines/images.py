"""Machine images: folder trees that instances are made from."""

import hashlib
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from local_cloud import CloudError
from local_cloud.machines import programs


class ImageError(CloudError):
    """An image cannot be read or copied; the text says why."""


def image_id(name: str) -> str:
    """The id of the image registered as `name`: the same one after every start."""
    return f"ami-0{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def copy_tree(source: Path, target: Path) -> None:
    """Copy the content of `source` to `target`: links stay links, modes and times are kept. Raises ImageError.

    A child process copies. If this process held a file open for writing, an instance that another thread starts at
    that moment would inherit it, and a program that is open for writing cannot be executed.
    """
    target.mkdir(parents=True, exist_ok=True)
    with programs.start(["cp", "-a", "--", f"{source}/.", str(target)], stderr=subprocess.PIPE) as copying:
        _, errors = copying.communicate()
    if copying.returncode != 0:
        raise ImageError(f"copying {source} failed: {errors.decode(errors='replace').strip()}")


class ImageStore:
    """Maps image ids to folders."""

    def __init__(self, captured: Path) -> None:
        """`captured` is the folder for images made from instances."""
        self._captured = captured
        self._folders: dict[str, Path] = {}
        self._lock = threading.Lock()

    def add(self, identifier: str, folder: Path) -> None:
        """Add an image. Raises ImageError when `folder` does not exist."""
        if not folder.is_dir():
            raise ImageError(f"image folder {folder} does not exist")
        with self._lock:
            self._folders[identifier] = folder.resolve()

    def capture(self, identifier: str, root: Path) -> None:
        """Copy `root` and add the copy as an image. Raises ImageError."""
        self.add_copy(identifier, lambda target: copy_tree(root, target))

    def add_copy(self, identifier: str, copy: Callable[[Path], None]) -> None:
        """Add what `copy` puts into the folder that it is called with, as an image. Raises ImageError."""
        folder = self._captured / identifier
        # Under another name until it is complete: a half-done copy of a killed process is no image.
        draft = self._captured / f"{identifier}.draft"
        copy(draft)
        draft.rename(folder)
        self.add(identifier, folder)

    def remove(self, identifier: str) -> None:
        """Remove an image; delete its folder if it was made here."""
        with self._lock:
            self._folders.pop(identifier, None)
        folder = self._captured / identifier
        folder.with_name(f"{identifier}.json").unlink(missing_ok=True)
        if folder.is_dir():
            shutil.rmtree(folder)

    def folder(self, identifier: str) -> Path | None:
        with self._lock:
            return self._folders.get(identifier)
