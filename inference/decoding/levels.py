"""Brings greys and colours of more than 8 bits to 8 bits, and says when a file has more pictures than the first."""

from __future__ import annotations

import sys
from typing import Any

from PIL import Image, ImageFile

PAGES = "the file has more than one picture: the first is labelled"

_PHOTOMETRIC, _MAX_SAMPLE_VALUE, _SAMPLE_FORMAT = 262, 281, 339  # tags of a TIFF
_WHITE_IS_ZERO, _UNSIGNED = 0, 1
_WHITES = (1023, 4095, 16_383)  # of cameras and scanners of 10 to 14 bits: many programs store them in 16 as they are

SIGNIFICANT_BITS = "significant_bits"  # in an image's `info`: what a PNG's sBIT says
_FRAME, _EXTENSION = 0x2C, 0x21  # what parts of a GIF begin with
_DARKEST_BYTE = 63  # the high byte of 16,383, the largest value of 14 bits

# Pillow reads the high bytes of 16-bit colours. In the other byte order it reads the low bytes.
_NATIVE_SWAPPED = "16B" if sys.byteorder == "little" else "16L"
_SWAPPED = {"16B": "16L", "16L": "16B", "16N": _NATIVE_SWAPPED}


def eight_bits(part: Image.Image, image: Image.Image) -> Image.Image:
    """Convert a part of an image of 16-bit greys, 32-bit integers or floats to 8 bits.

    White is the TIFF's MaxSampleValue or what the PNG's sBIT allows; else 1023, 4095 or 16,383 if the part has no
    brighter value; else 65,535. 32-bit integers and floats have no defined white: their brightest value becomes white
    and their darkest black.
    """
    import numpy as np

    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    # Changed in place below, because a second copy of 50 megapixels is large.
    if part.mode == "I" and tags.get(_SAMPLE_FORMAT) in (_UNSIGNED, (_UNSIGNED,)):
        greys = np.asarray(part).view(np.uint32).astype(np.float32)
    else:
        greys = np.array(part, dtype=np.float32)
    if part.mode.startswith("I;16"):
        greys *= 255 / white(float(greys.max()), image)
        np.minimum(greys, 255, out=greys)
    else:
        np.nan_to_num(greys, copy=False)
        greys -= greys.min()
        greys *= 255 / max(float(greys.max()), 1e-12)
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        np.subtract(255, greys, out=greys)
    return Image.fromarray(np.rint(greys, out=greys).astype(np.uint8))


def white(brightest: float, image: Image.Image) -> float:
    """The value that is white in an image of 16 bits whose brightest value is `brightest`."""
    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    declared = tags.get(_MAX_SAMPLE_VALUE)
    value = declared[0] if isinstance(declared, tuple) and declared else declared
    if isinstance(value, int) and 255 <= value <= 65_535:
        return value
    bits = image.info.get(SIGNIFICANT_BITS, 0)
    if 8 < bits < 16 and brightest < 2**bits:
        return float(2**bits - 1)  # else its values are scaled up to 16 bits, as they should be
    return next((most for most in _WHITES if 255 < brightest <= most), 65_535)


def has_deep_colours(image: ImageFile.ImageFile) -> bool:
    """Whether an image that is not loaded has colours of 16 bits."""
    return bool(image.tile) and all(_swapped(_raw_mode(tile.args)) for tile in image.tile)


def lighten(image: ImageFile.ImageFile, again: ImageFile.ImageFile) -> None:
    """Scale the colours of an image of 10 to 14 bits in 16, which Pillow loads as almost black. Others stay.

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
    scaled = np.arange(65_536) * (255 / white(float(values.max()), image))
    image.im = Image.fromarray(np.rint(scaled.clip(max=255)).astype(np.uint8)[values]).im


def _raw_mode(args: Any) -> str:
    mode = args[0] if isinstance(args, tuple) and args else args
    return mode if isinstance(mode, str) else ""


def _swapped(raw_mode: str) -> str:
    """The raw mode of the low bytes of 16-bit colours; "" for another raw mode."""
    bands, _, order = raw_mode.partition(";")
    return f"{bands};{_SWAPPED[order]}" if bands in ("RGB", "RGBA") and order in _SWAPPED else ""


def has_more_pictures(image: Image.Image, payload: bytes) -> bool:
    """Whether a TIFF has a second page, or a GIF, WebP or AVIF file a second frame. Of other formats no."""
    if image.format == "TIFF":
        return bool(getattr(image.tag_v2, "next", 0))  # type: ignore[attr-defined]
    if image.format == "GIF":
        return _has_second_frame(payload)
    return image.format in ("WEBP", "AVIF") and getattr(image, "n_frames", 1) > 1


def _has_second_frame(gif: bytes) -> bool:
    """Whether a GIF has two frames. Pillow would decode the first one again to say so."""
    position = 13 + _colours(gif[10:11])
    frames = 0
    while position < len(gif):
        code = gif[position]
        if code == _FRAME:
            frames += 1
            position += 11 + _colours(gif[position + 9 : position + 10])
        elif code == _EXTENSION:
            position += 2
        else:
            break
        while position < len(gif) and frames < 2 and gif[position]:
            position += 1 + gif[position]
        position += 1
    return frames > 1


def _colours(flags: bytes) -> int:
    """How many bytes a GIF's table of colours has, by the flags before it."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0
