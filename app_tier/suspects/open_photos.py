"""Which photos a worker's process has open, in a file that outlives the process but not its machine."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from shoal.ports import MOST_IN_PROGRESS

log = logging.getLogger(__name__)

SLOT_BYTES = 2048  # half a page: a process that is killed leaves no half of one
LENGTH_BYTES = 2
MOST_KEY_BYTES = 1024  # S3's own limit
FILE_BYTES = MOST_IN_PROGRESS * SLOT_BYTES


class OpenPhotos:
    """The file has a slot for each open photo: the length of its key, and the key. Safe for many threads.

    file: used by one process at a time; nothing is noted without it, nor if it cannot be opened.

    left_open: the photos that were open when the last process that used the file ended.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._descriptor: int | None = None
        self._free = list(range(MOST_IN_PROGRESS))
        self._taking = threading.Lock()
        self.left_open: tuple[str, ...] = ()
        if file is not None:
            self._open(file)

    def _open(self, file: Path) -> None:
        try:
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            found = os.pread(descriptor, FILE_BYTES, 0)
            os.pwrite(descriptor, bytes(FILE_BYTES - len(found)), len(found))  # a disk that is full later has the space
        except OSError as error:
            log.warning("photos that end this process will not be known: %s", error)
            return
        self._descriptor = descriptor
        self.left_open = tuple(_keys(found))

    def forget_left_open(self) -> None:
        """Empty the file. To be called before the first photo is opened."""
        for slot in range(MOST_IN_PROGRESS):
            self._write(slot, b"")
        self.left_open = ()

    @contextmanager
    def noted(self, keys: Sequence[str]) -> Iterator[None]:
        """These photos are open for the length of the block."""
        with self._taking:
            slots = [self._free.pop() for _ in keys[: len(self._free)]]
        try:
            for slot, key in zip(slots, keys, strict=False):
                self._write(slot, key.encode(errors="replace")[:MOST_KEY_BYTES])
            yield
        finally:
            for slot in slots:
                self._write(slot, b"")
            with self._taking:
                self._free += slots

    def _write(self, slot: int, key: bytes) -> None:
        if self._descriptor is not None:
            with suppress(OSError):  # no photo waits for a note
                os.pwrite(self._descriptor, len(key).to_bytes(LENGTH_BYTES, "big") + key, slot * SLOT_BYTES)


def _keys(content: bytes) -> Iterator[str]:
    for start in range(0, len(content), SLOT_BYTES):
        slot = content[start : start + SLOT_BYTES]
        length = int.from_bytes(slot[:LENGTH_BYTES], "big")
        if 0 < length <= MOST_KEY_BYTES:
            yield slot[LENGTH_BYTES : LENGTH_BYTES + length].decode(errors="replace")
