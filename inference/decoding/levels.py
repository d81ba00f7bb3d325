"""Brings greys of more than 8 bits to 8 bits, and says when a file has more pictures than the first."""

from __future__ import annotations

from typing import Any

from PIL import Image

PAGES = "the file has more than one picture: the first is labelled"

_PHOTOMETRIC, _MAX_SAMPLE_VALUE, _SAMPLE_FORMAT = 262, 281, 339  # tags of a TIFF
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_WHITES = (1023, 4095)  # of cameras and scanners with 10 or 12 bits, which many programs store in 16 as they are


def eight_bits(part: Image.Image, image: Image.Image) -> Image.Image:
    """Convert a part of an image of 16-bit greys, 32-bit integers or floats to 8 bits.

    White is the TIFF's MaxSampleValue; else 1023 or 4095 if the part has no brighter value; else 65,535. 32-bit
    integers and floats have no defined white: their brightest value becomes white and their darkest black.
    """
    import numpy as np

    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    # Changed in place below, because a second copy of 50 megapixels is large.
    if part.mode == "I" and tags.get(_SAMPLE_FORMAT) in (_UNSIGNED, (_UNSIGNED,)):
        greys = np.asarray(part).view(np.uint32).astype(np.float32)
    else:
        greys = np.array(part, dtype=np.float32)
    if part.mode.startswith("I;16"):
        greys *= 255 / _white(float(greys.max()), tags.get(_MAX_SAMPLE_VALUE))
        np.minimum(greys, 255, out=greys)
    else:
        np.nan_to_num(greys, copy=False)
        greys -= greys.min()
        greys *= 255 / max(float(greys.max()), 1e-12)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, greys, out=greys)
    return Image.fromarray(np.rint(greys, out=greys).astype(np.uint8))


def _white(brightest: float, declared: Any) -> float:
    value = declared[0] if isinstance(declared, tuple) and declared else declared
    if isinstance(value, int) and 255 <= value <= 65_535:
        return value
    return next((white for white in _WHITES if 255 < brightest <= white), 65_535)


def has_more_pages(image: Image.Image) -> bool:
    """Whether a TIFF has a second page."""
    return bool(image.format == "TIFF" and getattr(image.tag_v2, "next", 0))  # type: ignore[attr-defined]
