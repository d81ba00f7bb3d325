"""A JPEG without private data: segments are left out, and what stands behind the picture."""

from __future__ import annotations

import re

from inference.image_limits import JPEG_SEGMENTS
from inference.private_data import exif
from shoal.errors import BadImage

_SOS, _EOI, _TEM, _COMMENT = 0xDA, 0xD9, 0x01, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_KEPT = ((_APP0, b"JFIF\0"), (_APP2, b"ICC_PROFILE\0"), (_APP14, b"Adobe"))  # what decoding needs
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MORE_PICTURES = b"MPF\0"
_SEQUENTIAL = (0xC0, 0xC1)
_END = re.compile(rb"\xff\xd9")
_SCAN = re.compile(rb"\xff\xda")
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
# To look for the end of the picture takes 0.4 ms a megabyte. In a larger file it is looked for when something says that
# more stands behind it.
_ALWAYS_BYTES = 512 * 1024


def cleaned(photo: bytes) -> bytes:
    """The JPEG without EXIF data but the orientation, XMP, IPTC, comments, makers' segments and appended files.

    Raises BadImage for one of more segments than any program writes.
    """
    kept: list[tuple[int, int]] = []
    side_up = in_xmp = 0
    private, more, sequential = False, False, False
    position, size = 2, len(photo)
    while position + 4 <= size:
        found = photo.find(b"\xff", position, size - 1)
        start = size if found < 0 else found
        code = _EOI if found < 0 else photo[found + 1]
        if code == 0xFF:
            position = start + 1
            continue
        if code in (_SOS, _EOI):
            break
        if code == _TEM or 0xD0 <= code <= 0xD8 or code == 0:
            position = start + 2
            continue
        position = start + 2 + int.from_bytes(photo[start + 2 : start + 4], "big")
        head = photo[start + 4 : min(start + 40, position)]
        sequential = sequential or code in _SEQUENTIAL
        if _is_kept(code, head):
            kept.append((start, position))
            continue
        private = True
        if code == _APP1 and head.startswith(exif.HEADER):
            side_up = side_up or exif.orientation(photo[start + 4 : position])
        elif code == _APP1 and head.startswith(_XMP):
            more, in_xmp = True, in_xmp or exif.orientation_in_xmp(photo[start + 4 : position])
        more = more or head.startswith(_MORE_PICTURES)
    else:
        start = size
    end = _end_of_picture(photo, start, more, sequential)
    if not private and end == size:
        return photo
    return _joined(photo, kept, side_up or in_xmp, start, end)


def _is_kept(code: int, head: bytes) -> bool:
    if _APP0 <= code <= _APP15:
        return any(code == kept and head.startswith(name) for kept, name in _KEPT)
    return code != _COMMENT


def _joined(photo: bytes, kept: list[tuple[int, int]], side_up: int, scans: int, end: int) -> bytes:
    view = memoryview(photo)
    parts: list[bytes | memoryview] = [b"\xff\xd8"]
    first_is_jfif = bool(kept) and photo[kept[0][0] + 1] == _APP0
    if first_is_jfif:
        parts.append(view[kept[0][0] : kept[0][1]])
    if side_up > exif.UPRIGHT:
        body = exif.HEADER + exif.only_orientation(side_up)
        parts += [b"\xff\xe1", (len(body) + 2).to_bytes(2, "big"), body]
    parts += [view[start:end] for start, end in kept[first_is_jfif:]]
    return b"".join([*parts, view[scans:end]])


def _end_of_picture(photo: bytes, scans: int, more: bool, sequential: bool) -> int:
    """Where the picture ends; the end of the file for one that is cut short."""
    size = len(photo)
    if size > _ALWAYS_BYTES and not more and photo.endswith(b"\xff\xd9"):
        return size
    if sequential and (found := _END.search(photo, scans)) and _SCAN.search(photo, scans + 2, found.start()) is None:
        return found.end()
    position, segments = scans, 0
    while (marker := _MARKER.search(photo, position)) is not None:
        position, segments = marker.end(), segments + 1
        if marker[1][0] == _EOI:
            return position
        if segments > JPEG_SEGMENTS:
            raise BadImage(f"the image has more than {JPEG_SEGMENTS:,} segments, which no program writes into a photo")
        if marker[1][0] != _TEM:
            position += int.from_bytes(photo[position : position + 2], "big")
    return size
