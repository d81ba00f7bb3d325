"""Knows the RAW files of cameras that are TIFFs: DNG, CR2, NEF, ARW and others. Of them the preview is read, if any."""

from __future__ import annotations

import struct
from typing import BinaryIO

NAME = "a camera's RAW file"
PREVIEW = f"{NAME}: the preview in it is labelled"

_SUBFILE, _MAKE, _SUB_DIRECTORIES, _DNG_VERSION = 254, 271, 330, 50_706
_REDUCED = 1  # a subfile that is a smaller version of another
_MOST_ENTRIES = 200


def is_raw(file: BinaryIO) -> bool:
    """Whether a file that begins like a TIFF is a camera's RAW file. The file is left anywhere."""
    file.seek(0)
    head = file.read(10)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4], "")
    if not order or len(head) < 10:
        return False
    if head[8:10] == b"CR":
        return True
    tags = _tags(file, order, struct.unpack(f"{order}I", head[4:8])[0])
    is_preview = {_MAKE, _SUB_DIRECTORIES} <= tags.keys() and tags.get(_SUBFILE) == _REDUCED
    return _DNG_VERSION in tags or is_preview


def _tags(file: BinaryIO, order: str, start: int) -> dict[int, int]:
    """The tags of the first directory, with their values as they stand there."""
    file.seek(start)
    count = int.from_bytes(file.read(2), "little" if order == "<" else "big")
    entry = struct.Struct(f"{order}HHII")
    data = file.read(min(count, _MOST_ENTRIES) * entry.size)
    return {tag: value for tag, _, _, value in entry.iter_unpack(data[: len(data) // entry.size * entry.size])}
