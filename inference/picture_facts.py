"""What a photo tells beside its labels: a perceptual hash, and from its EXIF data when and where it was taken."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

from inference import images

_SIDE = 32  # of the picture from which the hash is made
_COLUMNS, _ROWS = 9, 8
_TIMES = (ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized)


@dataclass(frozen=True, slots=True)
class Taken:
    """When a photo was taken, by its camera's clock, as 2026-07-01T12:00:00; empty if it does not say. And where, in
    degrees, north and east being positive; None if it does not say."""

    time: str = ""
    place: tuple[float, float] | None = None


def perceptual_hash(payload: bytes, max_pixels: int) -> str:
    """64 bits as 16 hexadecimal digits, of which few differ between copies of a picture in another size or quality.

    A bit says whether a part of the grey picture is brighter than its right neighbour (dHash). Raises BadImage.
    """
    picture = Image.fromarray(images.open_squashed(payload, _SIDE, max_pixels).pixels).convert("L")
    small = picture.resize((_COLUMNS, _ROWS), Image.Resampling.BOX).tobytes()
    bits = 0
    for row in range(_ROWS):
        for at in range(row * _COLUMNS, (row + 1) * _COLUMNS - 1):
            bits = bits << 1 | (small[at] > small[at + 1])
    return f"{bits:016x}"


def taken(payload: bytes, max_pixels: int) -> Taken:
    """From the EXIF data; what is missing, malformed or impossible is not known."""
    try:
        exif = images.exif(payload, max_pixels)
        return Taken(_time(exif.get_ifd(ExifTags.IFD.Exif)), _place(exif.get_ifd(ExifTags.IFD.GPSInfo)))
    except Exception:  # Pillow reads directories when asked for, and a stranger wrote them
        return Taken()


def _time(found: dict[int, Any]) -> str:
    for tag in _TIMES:
        try:
            return datetime.strptime(str(found[tag]).strip("\0 "), "%Y:%m:%d %H:%M:%S").isoformat()
        except (KeyError, ValueError):
            continue
    return ""


def _place(found: dict[int, Any]) -> tuple[float, float] | None:
    tags = ExifTags.GPS
    north = _degrees(found.get(tags.GPSLatitude), found.get(tags.GPSLatitudeRef), "NS", 90)
    east = _degrees(found.get(tags.GPSLongitude), found.get(tags.GPSLongitudeRef), "EW", 180)
    return None if north is None or east is None else (north, east)


def _degrees(parts: Any, side: Any, sides: str, most: int) -> float | None:
    """From degrees, minutes and seconds."""
    try:
        degrees, minutes, seconds = (float(one) for one in parts)
        sign = (1, -1)[sides.index(str(side).strip("\0 "))]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees + minutes / 60 + seconds / 3600
    return round(sign * value, 6) if math.isfinite(value) and 0 <= value <= most else None
