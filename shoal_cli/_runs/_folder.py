"""The photos of a folder on this machine: stored in the input bucket, shard by shard, as the workers need them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from inference.photo_folders import list_files
from runs.manifest import BulkPhoto
from runs.run import folder_of
from shoal.ports import ObjectStore
from shoal_cli._batches._chosen_photos import is_photo, skipped, tell_left_out

UPLOADS = 8  # at once


class FolderSource:
    """Cursors are the paths below the folder.

    all_files: whether files are taken whose suffix is none of a photo: a pattern chooses among them.
    """

    def __init__(self, folder: Path, run: str, inputs: ObjectStore, bucket: str, all_files: bool) -> None:
        self._folder = folder
        self._run = run
        self._inputs = inputs
        self._bucket = bucket
        self._all_files = all_files

    def entries(self, after: str) -> Iterator[tuple[str, BulkPhoto]]:
        """See `runs.sources.PhotoSource`."""
        files = (path for path in list_files(self._folder).files if self._all_files or is_photo(path))
        names = sorted(path.relative_to(self._folder).as_posix() for path in files)
        for name in names:
            if name > after:
                body = (self._folder / name).read_bytes()
                etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'  # as S3 makes it
                yield name, BulkPhoto(name, etag, len(body), self._bucket, f"{folder_of(self._run)}{name}")

    def left_out(self) -> str:
        """What is not taken of the folder, in words; empty for nothing."""
        inside = list_files(self._folder)
        return tell_left_out(inside.leftovers, Counter() if self._all_files else skipped(inside.files))

    def store(self, photos: Sequence[BulkPhoto]) -> None:
        """Put the photos of a shard in the bucket. May raise Retryable."""
        with ThreadPoolExecutor(UPLOADS) as threads:
            for _ in threads.map(self._store, photos):
                pass

    def _store(self, photo: BulkPhoto) -> None:
        self._inputs.put(photo.object_key, (self._folder / photo.key).read_bytes(), "application/octet-stream")
