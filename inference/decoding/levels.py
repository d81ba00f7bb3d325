"""Brings greys and colours of more than 8 bits to 8 bits, and says when a file has more pictures than the first."""

from __future__ import annotations

import sys
from typing import Any

from PIL import Image, ImageFile

PAGES = "the file has more than one picture: the first is labelled"

_PHOTOMETRIC, _MAX_SAMPLE_VALUE, _SAMPLE_FORMAT = 262, 281, 339  # tags of a TIFF
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_WHITES = (1023, 4095)  # of cameras and scanners with 10 or 12 bits, which many programs store in 16 as they are

SIGNIFICANT_BITS = "significant_bits"  # in an image's `info`: what a PNG's sBIT says
_DARKEST_BYTE = 15  # the high byte of 4095, the largest value of 12 bits

# Pillow reads the high bytes of 16-bit colours. In the other byte order it reads the low bytes.
_NATIVE_SWAPPED = "16B" if sys.byteorder == "little" else "16L"
_SWAPPED = {"16B": "16L", "16L": "16B", "16N": _NATIVE_SWAPPED}


def eight_bits(part: Image.Image, image: Image.Image) -> Image.Image:
    """Convert a part of an image of 16-bit greys, 32-bit integers or floats to 8 bits.

    White is the TIFF's MaxSampleValue or what the PNG's sBIT allows; else 1023 or 4095 if the part has no brighter
    value; else 65,535. 32-bit integers and floats have no defined white: their brightest value becomes white and their
    darkest black.
    """
    import numpy as np

    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    # Changed in place below, because a second copy of 50 megapixels is large.
    if part.mode == "I" and tags.get(_SAMPLE_FORMAT) in (_UNSIGNED, (_UNSIGNED,)):
        greys = np.asarray(part).view(np.uint32).astype(np.float32)
    else:
        greys = np.array(part, dtype=np.float32)
    if part.mode.startswith("I;16"):
        greys *= 255 / _white(float(greys.max()), image)
        np.minimum(greys, 255, out=greys)
    else:
        np.nan_to_num(greys, copy=False)
        greys -= greys.min()
        greys *= 255 / max(float(greys.max()), 1e-12)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, greys, out=greys)
    return Image.fromarray(np.rint(greys, out=greys).astype(np.uint8))


def _white(brightest: float, image: Image.Image) -> float:
    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    declared = tags.get(_MAX_SAMPLE_VALUE)
    value = declared[0] if isinstance(declared, tuple) and declared else declared
    if isinstance(value, int) and 255 <= value <= 65_535:
        return value
    bits = image.info.get(SIGNIFICANT_BITS, 0)
    if 8 < bits < 16 and brightest < 2**bits:
        return float(2**bits - 1)  # else its values are scaled up to 16 bits, as they should be
    return next((white for white in _WHITES if 255 < brightest <= white), 65_535)


def has_deep_colours(image: ImageFile.ImageFile) -> bool:
    """Whether an image that is not loaded has colours of 16 bits."""
    return bool(image.tile) and all(_swapped(_raw_mode(tile.args)) for tile in image.tile)


def lighten(image: ImageFile.ImageFile, again: ImageFile.ImageFile) -> None:
    """Scale the colours of an image of 10 or 12 bits in 16, which Pillow loads as almost black. Others stay.

    image: loaded. again: the same, not loaded.
    """
    if not 0 < max(most for _, most in image.getextrema()) <= _DARKEST_BYTE:  # type: ignore[misc]
        return
    import numpy as np

    again.tile = [
        tile._replace(args=(_swapped(_raw_mode(tile.args)), *tile.args[1:]))
        if isinstance(tile.args, tuple)
        else tile._replace(args=_swapped(_raw_mode(tile.args)))
        for tile in again.tile
    ]
    again.load()
    values = np.asarray(image).astype(np.uint16) << 8 | np.asarray(again)
    scaled = np.arange(65_536) * (255 / _white(float(values.max()), image))
    image.im = Image.fromarray(np.rint(scaled.clip(max=255)).astype(np.uint8)[values]).im


def _raw_mode(args: Any) -> str:
    mode = args[0] if isinstance(args, tuple) and args else args
    return mode if isinstance(mode, str) else ""


def _swapped(raw_mode: str) -> str:
    """The raw mode of the low bytes of 16-bit colours; "" for another raw mode."""
    bands, _, order = raw_mode.partition(";")
    return f"{bands};{_SWAPPED[order]}" if bands in ("RGB", "RGBA") and order in _SWAPPED else ""


def has_more_pages(image: Image.Image) -> bool:
    """Whether a TIFF has a second page."""
    return bool(image.format == "TIFF" and getattr(image.tag_v2, "next", 0))  # type: ignore[attr-defined]
