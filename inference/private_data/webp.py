"""A WebP file without private data: chunks are left out, and what stands behind the file."""

from __future__ import annotations

import struct

from inference.private_data import exif

_HEADER = struct.Struct("<4sI")
_KEPT = frozenset((b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF", b"ICCP"))
_HAS_EXIF, _HAS_XMP = 0x08, 0x04


def cleaned(photo: bytes) -> bytes:
    """The WebP file without XMP, unknown chunks, and EXIF data but the orientation."""
    promised = 8 + int.from_bytes(photo[4:8], "little")
    end = min(promised, len(photo))
    position, side_up, in_xmp = 12, 0, 0
    kept: list[bytes | memoryview] = []
    left_out = len(photo) - end
    while position + _HEADER.size <= end:
        kind, length = _HEADER.unpack_from(photo, position)
        after = min(position + 8 + length + length % 2, end)
        if kind in _KEPT:
            kept.append(memoryview(photo)[position:after])
        else:
            left_out += after - position
            body = photo[position + 8 : after]
            side_up = side_up or (exif.orientation(body) if kind == b"EXIF" else 0)
            in_xmp = in_xmp or (exif.orientation_in_xmp(body) if kind == b"XMP " else 0)
        position = after
    if not left_out:
        return photo
    return _joined(kept, side_up or in_xmp, promised - end)


def _joined(kept: list[bytes | memoryview], side_up: int, missing: int) -> bytes:
    """missing: how many bytes the file is too short; so many the result is, too."""
    turned = side_up > exif.UPRIGHT
    if kept and bytes(kept[0][:4]) == b"VP8X":
        first = bytearray(kept[0])
        first[8] = first[8] & ~(_HAS_EXIF | _HAS_XMP) | (_HAS_EXIF if turned else 0)
        kept[0] = bytes(first)
    body = b"".join(kept)
    if turned:
        data = exif.only_orientation(side_up)
        body += _HEADER.pack(b"EXIF", len(data)) + data
    return _HEADER.pack(b"RIFF", 4 + len(body) + missing) + b"WEBP" + body
