"""Takes out of a photo what tells of its sender: place, time, serial numbers, names, notes of the camera's maker.

The picture stays as it is, byte for byte: parts of the file are left out or blanked, nothing is encoded again. What the
picture needs stays: colours, transparency and which side is up.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from inference.decoding.photo_formats import iso_format
from inference.private_data import exif, gif, iso_media, jpeg, png, tiff, webp


def removed(photo: bytes) -> bytes:
    """The photo without its private data; the same object if it has none.

    A file that cannot be read as its first bytes promise stays as it is from there on: no decoder reads it either.
    Raises BadImage for one whose directories name the same data again and again, and for one of more parts than any
    program writes.
    """
    clean = _cleaner(photo)
    if clean is None:
        return photo
    try:
        return clean(photo)
    except (struct.error, IndexError, ValueError):
        return photo


def _cleaner(photo: bytes) -> Callable[[bytes], bytes] | None:
    head = photo[:256]
    if head.startswith(b"\xff\xd8"):
        return jpeg.cleaned
    if head.startswith(png.SIGNATURE):
        return png.cleaned
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return webp.cleaned
    if head.startswith((b"GIF87a", b"GIF89a")):
        return gif.cleaned
    if head[:4] in exif.BYTE_ORDERS or head[:4] in tiff.BIG:
        return tiff.cleaned
    return iso_media.cleaned if iso_format(head) else None
