"""A PNG without private data: chunks are left out, and what stands behind the last."""

from __future__ import annotations

import struct
import zlib

from inference.private_data import exif

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">I4s")
# What the picture needs: pixels, colours, transparency, size of a pixel, frames.
_KEPT = frozenset(b"IHDR PLTE IDAT IEND tRNS cHRM gAMA iCCP sBIT sRGB cICP mDCV cLLI bKGD pHYs acTL fcTL fdAT".split())
_EXIF_TEXT = b"Raw profile type exif\0"
_XMP_TEXT = b"XML:com.adobe.xmp\0"
_TOLD_BYTES = 256 * 1024  # of a text that may say which side is up: EXIF data fit in 64 KB, two digits a byte
_MOST_TOLD = 8  # chunks that are asked which side is up; programs write one or two
_IHDR_END = 33  # it is the first chunk, of a fixed length


def cleaned(photo: bytes) -> bytes:
    """The PNG without texts, times, XMP, unknown chunks, and EXIF data but the orientation."""
    kept: list[list[int]] = [[0, len(SIGNATURE)]]
    position, size, side_up, asked = len(SIGNATURE), len(photo), 0, 0
    while position + _HEADER.size <= size:
        length, kind = _HEADER.unpack_from(photo, position)
        end = min(position + 12 + length, size)
        if kind not in _KEPT:
            if not side_up and asked < _MOST_TOLD and _may_tell(photo, kind, position + 8):
                asked += 1
                side_up = _orientation(kind, photo[position + 8 : min(end - 4, position + 8 + _TOLD_BYTES)])
        elif kept[-1][1] == position:
            kept[-1][1] = end
        else:
            kept.append([position, end])
        position = end
        if kind == b"IEND":
            break
    if kept == [[0, size]]:
        return photo
    parts: list[bytes | memoryview] = [memoryview(photo)[start:end] for start, end in kept]
    if side_up > exif.UPRIGHT:
        parts[:1] = [parts[0][:_IHDR_END], _chunk(b"eXIf", exif.only_orientation(side_up)), parts[0][_IHDR_END:]]
    return b"".join(parts)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return _HEADER.pack(len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def _may_tell(photo: bytes, kind: bytes, start: int) -> bool:
    """Whether a chunk, whose body begins at `start`, may say which side is up."""
    name = {b"eXIf": b"", b"zTXt": _EXIF_TEXT, b"tEXt": _EXIF_TEXT, b"iTXt": _XMP_TEXT}.get(kind)
    return name is not None and photo.startswith(name, start)


def _orientation(kind: bytes, body: bytes) -> int:
    """What the body of a chunk that may tell says. 0 if it says nothing, or cannot be read."""
    if kind == b"eXIf":
        return exif.orientation(body)
    _, _, rest = body.partition(b"\0")
    if kind == b"iTXt":
        text = rest[2:].split(b"\0", 2)[-1]
        return exif.orientation_in_xmp(text if rest[:1] == b"\0" else _unpacked(text))
    text = _unpacked(rest[1:]) if kind == b"zTXt" else rest
    digits = text.split(b"\n", 3)[-1]  # behind an empty line, a name and a length
    try:
        return exif.orientation(bytes.fromhex(digits.decode("ascii", "replace")))
    except ValueError:
        return 0


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _TOLD_BYTES)
    except zlib.error:
        return b""
