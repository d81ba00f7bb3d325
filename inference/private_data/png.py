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
_UNPACKED_BYTES = 1024 * 1024
_IHDR_END = 33  # it is the first chunk, of a fixed length


def cleaned(photo: bytes) -> bytes:
    """The PNG without texts, times, XMP, unknown chunks, and EXIF data but the orientation."""
    kept: list[list[int]] = [[0, len(SIGNATURE)]]
    position, size, side_up = len(SIGNATURE), len(photo), 0
    while position + _HEADER.size <= size:
        length, kind = _HEADER.unpack_from(photo, position)
        end = min(position + 12 + length, size)
        if kind not in _KEPT:
            side_up = side_up or _orientation(kind, photo[position + 8 : end - 4])
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


def _orientation(kind: bytes, body: bytes) -> int:
    if kind == b"eXIf":
        return exif.orientation(body)
    _, _, rest = body.partition(b"\0")
    if kind in (b"zTXt", b"tEXt") and body.startswith(_EXIF_TEXT):
        text = _unpacked(rest[1:]) if kind == b"zTXt" else rest
        digits = b"".join(text.split(b"\n")[3:])
        return exif.orientation(bytes.fromhex(digits.decode("ascii", "replace")))
    if kind == b"iTXt" and body.startswith(_XMP_TEXT):
        text = rest[2:].split(b"\0", 2)[-1]
        return exif.orientation_in_xmp(text if rest[:1] == b"\0" else _unpacked(text))
    return 0


def _unpacked(packed: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(packed, _UNPACKED_BYTES)
    except zlib.error:
        return b""
