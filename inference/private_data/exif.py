"""Reads which side of a picture is up, and writes EXIF data that say that alone."""

from __future__ import annotations

import re
import struct

HEADER = b"Exif\0\0"
BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
UPRIGHT = 1

_ORIENTATION = 0x0112
_SHORT = 3
_MOST_ENTRIES = 1_000
_XMP = re.compile(rb"tiff:Orientation(?:=\"|>)([1-8])")


def orientation(data: bytes) -> int:
    """1 to 8 from EXIF data, with or without their header; 0 if they do not say it."""
    data = data.removeprefix(HEADER)
    order = BYTE_ORDERS.get(data[:4])
    if order is None or len(data) < 8:
        return 0
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    if start + 2 > len(data):
        return 0
    (count,) = struct.unpack_from(f"{order}H", data, start)
    entry = struct.Struct(f"{order}HHIHH")
    for at in range(start + 2, start + 2 + min(count, _MOST_ENTRIES) * entry.size, entry.size):
        if at + entry.size > len(data):
            break
        tag, kind, _, value, _ = entry.unpack_from(data, at)
        if tag == _ORIENTATION:
            return value if kind == _SHORT and 1 <= value <= 8 else 0
    return 0


def orientation_in_xmp(data: bytes) -> int:
    """1 to 8 from XMP data; 0 if they do not say it."""
    found = _XMP.search(data)
    return int(found[1]) if found else 0


def only_orientation(value: int) -> bytes:
    """EXIF data, without their header, that say which side is up and nothing else."""
    return struct.pack("<4sIHHHIHHI", b"II*\0", 8, 1, _ORIENTATION, _SHORT, 1, value, 0, 0)
