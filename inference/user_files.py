"""Opens files that a person names: regular files of a sane size only, checked on the open descriptor.

A device such as /dev/zero never ends, a pipe waits for its writer, and a sparse file of a few blocks says that it has
gigabytes. Between a check of the path and its opening, the path may become another file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shoal.errors import Permanent

MODEL_BYTES = 4 * 1024**3  # the largest nets of keras.applications have 1.2 GB
DATASET_BYTES = 4 * 1024**3  # packed and unpacked; CIFAR-100 has 0.2 GB
PHOTO_BYTES = 256 * 1024**2
TEXT_BYTES = 16 * 1024**2  # labels: the longest known list has some 20,000 lines

_GIGABYTE = 1024**3


@contextmanager
def opened(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Open a file to read it. Raises Permanent, which says why it is no file to read, and OSError."""
    # Without O_NONBLOCK the opening of a pipe waits for somebody who writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Permanent(f"{path} is not a regular file")
        if found.st_size > most_bytes:
            raise Permanent(
                f"{path} has {found.st_size / _GIGABYTE:.1f} GB; at most {most_bytes / _GIGABYTE:.2g} GB are read"
            )
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def read(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file; of one that grows meanwhile, one more than `most_bytes`. Raises as `opened` does."""
    with opened(path, most_bytes) as file:
        return file.read(most_bytes + 1)
