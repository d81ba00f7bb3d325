"""Makes a copy of a PNG with only what its picture needs.

Pillow refuses a whole PNG for text that unpacks to a megabyte, or for a wrong checksum in a comment. Browsers show such
files. So Pillow gets a copy without the chunks that carry nothing of the picture.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import BinaryIO

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# A profile, EXIF data or XMP data that unpack to more than this are left out. Pillow has the same limit.
UNPACKED_BYTES = 1024 * 1024
PACKED_BYTES = 1024 * 1024
MOST_SIDE_DATA = 16  # chunks that are looked into; a file of 200 KB can have 200 texts of a megabyte each

_EXIF_TEXT = b"Raw profile type exif\0"  # written by ImageMagick
_XMP_TEXT = b"XML:com.adobe.xmp\0"
_HEADER = struct.Struct(">I4s")
# How chunks begin that may say something of the picture.
_SIDE_DATA = {b"tRNS": b"", b"eXIf": b"", b"iCCP": b"", b"zTXt": _EXIF_TEXT, b"tEXt": _EXIF_TEXT, b"iTXt": _XMP_TEXT}


def copy(file: BinaryIO, pixels: bool) -> io.BytesIO:
    """A PNG of the header, colours, orientation and, if `pixels`, the pixels of a PNG at the start of `file`.

    Of an animation it has the picture that programs without animations show. Side data get a new checksum, because
    theirs does not matter. A file that is cut short stays cut.
    """
    size = file.seek(0, io.SEEK_END)
    out = io.BytesIO()
    out.write(SIGNATURE)
    position, looked_into = len(SIGNATURE), 0
    while position + _HEADER.size <= size:
        file.seek(position)
        header = file.read(_HEADER.size)
        length, kind = _HEADER.unpack(header)
        position += 12 + length
        if kind == b"IDAT" and not pixels:
            out.write(header)
            break
        if kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            out.write(header + file.read(length + 4))
        elif kind in _SIDE_DATA and length <= PACKED_BYTES and looked_into < MOST_SIDE_DATA:
            body = file.read(length)
            if body.startswith(_SIDE_DATA[kind]):
                looked_into += 1
                if _needed(kind, body):
                    out.write(header + body + struct.pack(">I", zlib.crc32(kind + body)))
        if kind == b"IEND":
            break
    out.seek(0)
    return out


def is_animated(file: BinaryIO) -> bool:
    """Whether a PNG at the start of `file` is an animation of two frames or more."""
    return int.from_bytes(_before_pixels(file, b"acTL")[:4], "big") > 1


def significant_bits(file: BinaryIO) -> int:
    """The largest number in the chunk sBIT of a PNG at the start of `file`; 0 if it has none."""
    return max(_before_pixels(file, b"sBIT")[:4], default=0)


def _before_pixels(file: BinaryIO, wanted: bytes) -> bytes:
    """The first bytes of a chunk that stands before the pixels; b"" if there is none."""
    size = file.seek(0, io.SEEK_END)
    position = len(SIGNATURE)
    while position + _HEADER.size <= size:
        file.seek(position)
        length, kind = _HEADER.unpack(file.read(_HEADER.size))
        if kind in (b"IDAT", b"IEND"):
            break
        if kind == wanted:
            return file.read(min(length, _HEADER.size))
        position += 12 + length
    return b""


def _needed(kind: bytes, body: bytes) -> bool:
    """Whether a chunk of side data says something of the picture, and unpacks to little."""
    if kind in (b"tRNS", b"eXIf"):
        return True
    _, _, rest = body.partition(b"\0")
    if kind == b"iCCP":
        return _unpacks_to_little(rest[1:]) and rest[:1] == b"\0"
    if kind == b"zTXt":
        return body.startswith(_EXIF_TEXT) and rest[:1] == b"\0" and _unpacks_to_little(rest[1:])
    if kind == b"iTXt":
        packed = rest[:1] != b"\0"
        return body.startswith(_XMP_TEXT) and (not packed or _unpacks_to_little(rest[2:].split(b"\0", 2)[-1]))
    return kind == b"tEXt" and body.startswith(_EXIF_TEXT)


def _unpacks_to_little(packed: bytes) -> bool:
    unpack = zlib.decompressobj()
    try:
        unpack.decompress(packed, UNPACKED_BYTES)
    except zlib.error:
        return False
    return not unpack.unconsumed_tail
