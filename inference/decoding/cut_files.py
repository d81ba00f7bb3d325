"""Opens files that are cut short, as far as the decoders can, and says how much of the picture is missing."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

from PIL import Image, ImageChops, ImageFile

from shoal.errors import BadImage

CUT = "the file is cut short or damaged"

# The grey that shows where a decoder wrote nothing: 0 in the other modes.
_FILL: dict[str, Any] = {
    "RGB": (128, 128, 128),
    "RGBA": (128, 128, 128, 255),
    "RGBX": (128, 128, 128, 255),
    "CMYK": (0, 0, 0, 127),
    "L": 128,
    "LA": (128, 255),
}
_COLUMNS = 256  # enough to see whether a row is empty

_END = b"\xff\xd9"
_FILLER = bytes(range(1, 255)) * 64

_WEBP_PIXELS = (b"VP8 ", b"VP8L", b"ALPH", b"ANMF")
_WEBP_LARGEST = 64 * 1024 * 1024


def warning(missing: float) -> tuple[str, ...]:
    """A warning for people that a share of the picture is missing; none if nothing is."""
    if not missing:
        return ()
    return (f"{CUT}: {_percent(missing)} of the picture is missing",)


def _percent(share: float) -> str:
    return "less than 1%" if share < 0.01 else f"{share:.0%}"


def check_whole(warnings: Sequence[str]) -> None:
    """Raise BadImage if one of a photo's warnings says that a part of it is missing."""
    for text in warnings:
        if text.startswith(CUT):
            raise BadImage(text)


def load(image: ImageFile.ImageFile, again: Callable[[], ImageFile.ImageFile]) -> tuple[Image.Image, float]:
    """Load an image as far as its file goes. Returns it and the share of its rows or of its bytes that is missing.

    again: opens the same image again. Raises BadImage if all is missing.
    """
    try:
        image.load()
        return image, 0.0
    except (OSError, SyntaxError, EOFError, IndexError, ValueError):
        if image.info.get("compression") == "jpeg":
            raise  # a JPEG in a TIFF can have 100 scans, and would cost them twice
        image = again()
    lost_bytes = _lost_bytes(image)
    size, fill = image.size, _FILL.get(image.mode, 0)
    image.im = Image.new(image.mode, size, fill).im
    try:
        image.load()
    except (OSError, SyntaxError, EOFError, IndexError, ValueError):
        image.tile = []  # Pillow calls an image with pixels and without tiles loaded
    if image.format == "GIF":
        fill = image.info.get("transparency", 0)
    empty = _empty_rows(image, fill)
    if len(empty) == image.height:
        raise BadImage("the image is damaged or cut short")
    if image.format == "GIF" and empty and empty[0] < image.height - len(empty):
        _fill_from_above(image, empty)  # it is interlaced: rows that arrived are below others that did not
    return image, max(len(empty) / image.height, lost_bytes)


def _lost_bytes(image: ImageFile.ImageFile) -> float:
    """The share of a TIFF's pixels that its file ends before. A colour in a plane of its own leaves no row empty."""
    tags: dict[int, Any] = dict(getattr(image, "tag_v2", {}))
    offsets, counts = (tags.get(strips) or tags.get(tiles) or () for strips, tiles in ((273, 324), (279, 325)))
    if not sum(counts) or image.fp is None:
        return 0.0
    position = image.fp.tell()
    size = image.fp.seek(0, io.SEEK_END)
    image.fp.seek(position)
    lost = sum(min(count, max(0, offset + count - size)) for offset, count in zip(offsets, counts, strict=False))
    return float(lost / sum(counts))


def _empty_rows(image: Image.Image, fill: Any) -> list[int]:
    """The numbers of the rows that show nothing but `fill`."""
    rows = image.resize((min(_COLUMNS, image.width), image.height), Image.Resampling.NEAREST)
    if rows.mode == "P":
        rows = Image.frombytes("L", rows.size, rows.tobytes())
    filled = Image.new(rows.mode, rows.size, fill)
    different = ImageChops.difference(rows.convert("RGB"), filled.convert("RGB")).tobytes()
    length = 3 * rows.width
    return [row for row in range(rows.height) if not any(different[row * length : (row + 1) * length])]


def _fill_from_above(image: Image.Image, empty: list[int]) -> None:
    """Copy each row above an empty row into it: the rows of an interlaced picture arrive in another order."""
    for row in empty:
        if row:
            image.paste(image.crop((0, row - 1, image.width, row)), (0, row))


def load_jpeg(payload: bytes, decode: Callable[[bytes], Image.Image]) -> tuple[Image.Image, tuple[str, ...]]:
    """Decode a JPEG without an end. Returns the picture and warnings for people.

    The decoder leaves grey, or what earlier scans showed, where it has no data. It does not say where. So the file is
    decoded again with more data: a row changes if its own data did not suffice.
    """
    payload = payload.rstrip(b"\xff")  # what erased memory reads as; before more data it would be a marker
    image = decode(payload + _END)
    box = ImageChops.difference(image, decode(payload + _FILLER + _END)).getbbox()
    missing = 1 - box[1] / image.height if box else 0.0
    scans, all_begun = _scans(payload)
    if scans == 1 and (missing or all_begun):
        return image, warning(missing)
    if not all_begun:
        return image, (f"{CUT}: the fine details are missing",)
    return image, (f"{CUT}: {_percent(missing)} of the fine details are missing",) if missing else ()


def _scans(payload: bytes) -> tuple[int, bool]:
    """How many scans a JPEG has, 1 unless it is progressive, and whether no scan is missing."""
    frame = payload.rfind(b"\xff\xc2")  # neither marker is possible inside a scan
    if frame < 0:
        return 1, True
    last: set[int] = set()
    scans, position = 0, frame
    while (position := payload.find(b"\xff\xda", position + 2)) >= 0:
        scans += 1
        count = payload[position + 4]
        parameters = payload[position + 5 : position + 8 + 2 * count]
        if parameters[-2] == 63 and parameters[-1] & 15 == 0:  # the last coefficient, to the last bit
            last.update(parameters[: 2 * count : 2])
    return scans, len(last) >= payload[frame + 9]


def pad_webp(payload: bytes) -> tuple[bytes, float]:
    """Fill a WebP file that is cut short with zeros, which its decoder reads as pixels.

    Returns the file and the share of the pixels' bytes that is missing.
    """
    size = len(payload)
    position, missing = 12, 0.0
    while position + 8 <= size:
        kind, length = payload[position : position + 4], int.from_bytes(payload[position + 4 : position + 8], "little")
        end = position + 8 + length
        if end > size and kind in _WEBP_PIXELS:
            missing = (end - size) / length
        position = end + length % 2
    declared = max(position, 8 + int.from_bytes(payload[4:8], "little"))
    if declared <= size or declared > _WEBP_LARGEST:
        return payload, 0.0
    return payload.ljust(declared, b"\0"), missing
