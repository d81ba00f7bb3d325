"""A HEIC or AVIF file without private data: EXIF and XMP data and unknown boxes are overwritten where they stand.

Which side is up these formats say in a property of the picture, which stays.
"""

from __future__ import annotations

from collections.abc import Iterator

from inference.private_data.overwriting import Copy
from shoal.errors import BadImage

_KEPT_BOXES = frozenset((b"ftyp", b"styp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"free", b"skip"))
_META_FLAGS = 4
_DEEPEST = 8  # boxes of a film in one another; what is asked for is at most four deep
_MOST = 10_000  # boxes of a file, and extents
_TOO_MANY = "the image has more parts than any program writes"
_EMPTY_EXIF = b"\0\0\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"


def cleaned(photo: bytes) -> bytes:
    """The file with its EXIF and XMP items, user data and unknown boxes overwritten."""
    out, boxes = Copy(photo), _Boxes(photo)
    for kind, start, body, end in boxes.between(0, len(photo)):
        if kind == b"meta":
            _clean_items(boxes, out, body + _META_FLAGS, end)
        elif kind == b"moov":
            _clean_film(boxes, out, body, end, _DEEPEST)
        elif kind not in _KEPT_BOXES:
            _blank_box(out, start, body, end)
    return out.result()


class _Boxes:
    """Reads the boxes of one file, and counts them."""

    def __init__(self, photo: bytes) -> None:
        self.photo = photo
        self._left = _MOST

    def between(self, position: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
        """Of each box in a part of the file: kind, start, start of its body, end.

        Raises BadImage when the file has more boxes in all than any program writes.
        """
        photo = self.photo
        while position + 8 <= end:
            length, body = int.from_bytes(photo[position : position + 4], "big"), position + 8
            if length == 1:
                length, body = int.from_bytes(photo[body : body + 8], "big"), body + 8
            after = min(position + length if length else end, end)
            if after < body:
                return
            self._left -= 1
            if self._left < 0:
                raise BadImage(_TOO_MANY)
            yield photo[position + 4 : position + 8], position, body, after
            position = after


def _blank_box(out: Copy, start: int, body: int, end: int) -> None:
    out.rename(start + 4, b"free")
    out.overwrite(body, end)


def _clean_film(boxes: _Boxes, out: Copy, start: int, end: int, levels: int) -> None:
    """User data and descriptions of a film, which a HEIC or AVIF file may have beside its picture."""
    for kind, box, body, after in boxes.between(start, end):
        if kind in (b"udta", b"meta", b"uuid"):
            _blank_box(out, box, body, after)
        elif kind in (b"trak", b"mdia", b"minf") and levels:
            _clean_film(boxes, out, body, after, levels - 1)


def _clean_items(boxes: _Boxes, out: Copy, start: int, end: int) -> None:
    found = {kind: (body, after) for kind, _, body, after in boxes.between(start, end)}
    if b"iinf" not in found or b"iloc" not in found:
        return
    private = dict(_private_items(boxes, *found[b"iinf"]))
    inner = found.get(b"idat", (0, 0))
    for item, first, last in _places(boxes.photo, found[b"iloc"][0], inner):
        if item in private:
            out.overwrite(first, last, _EMPTY_EXIF if private[item] else b"")


def _private_items(boxes: _Boxes, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """The ids of EXIF and XMP items, and whether it is EXIF."""
    photo = boxes.photo
    version = photo[start]
    for kind, _, body, after in boxes.between(start + (6 if version == 0 else 8), end):
        if kind != b"infe" or photo[body] < 2:
            continue
        width = 2 if photo[body] == 2 else 4
        item = int.from_bytes(photo[body + 4 : body + 4 + width], "big")
        at = body + 4 + width + 2
        what = photo[at : at + 4]
        if what in (b"Exif", b"mime", b"uri ") and after > at:
            yield item, what == b"Exif"


class _Reader:
    """Reads numbers one after another."""

    def __init__(self, photo: bytes, position: int) -> None:
        self._photo = photo
        self._position = position

    def number(self, width: int) -> int:
        """The next number of so many bytes; 0 for none. Raises IndexError at the end of the file."""
        self._position += width
        if self._position > len(self._photo):
            raise IndexError(self._position)
        return int.from_bytes(self._photo[self._position - width : self._position], "big")


def _places(photo: bytes, start: int, inner: tuple[int, int]) -> Iterator[tuple[int, int, int]]:
    """Of each part of each item: the item's id, where the part begins and where it ends in the file."""
    reader = _Reader(photo, start)
    version = reader.number(1)
    reader.number(3)
    sizes, more = reader.number(1), reader.number(1)
    offset_size, length_size, base_size = sizes >> 4, sizes & 15, more >> 4
    index_size = more & 15 if version in (1, 2) else 0
    wide = 4 if version == 2 else 2
    parts = 0
    for _ in range(reader.number(wide)):
        item = reader.number(wide)
        method = reader.number(2) & 15 if version in (1, 2) else 0
        reader.number(2)
        base = reader.number(base_size)
        for _ in range(reader.number(2)):
            parts += 1
            if parts > _MOST:
                raise BadImage(_TOO_MANY)
            reader.number(index_size)
            first, length = base + reader.number(offset_size), reader.number(length_size)
            if method == 1:
                first += inner[0]
            last = first + length if length else len(photo)
            if method in (0, 1):
                yield item, first, last
