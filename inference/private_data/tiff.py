"""A TIFF file without private data, RAW files that are TIFFs included: values are overwritten where they stand.

To leave them out would move everything behind them, and the file is full of numbers that say where things are.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

from inference.private_data.overwriting import Copy
from shoal.errors import BadImage

BIG = {b"II\x2b\0": "<", b"MM\0\x2b": ">"}
_ORDERS = {b"II": "<", b"MM": ">"}

_SUB_DIRECTORIES, _EXIF, _PLACE, _INTEROPERABILITY = 330, 34_665, 34_853, 40_965
_DIRECTORIES = (_EXIF, _PLACE, _INTEROPERABILITY)  # blanked whole
# Description, software, date, artist, host, copyright; XMP, IPTC, Photoshop; serials of DNG, makers' notes, file names;
# what EXIF data keep in a directory of their own, where some cameras put it into the first.
_PRIVATE = frozenset(
    (
        *(269, 270, 285, 305, 306, 315, 316, 700, 33_432, 33_723, 34_377),
        *(33_550, 33_922, 34_264, 34_735, 34_736, 34_737),  # where on Earth a GeoTIFF is
        *(40_091, 40_092, 40_093, 40_094, 40_095, 50_735, 50_736, 50_740, 50_781, 50_827, 50_828, 50_931, 50_971),
        *(36_867, 36_868, 37_500, 37_510, 37_520, 42_016, 42_032, 42_033, 42_034, 42_035, 42_036, 42_037),
    )
)
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_MOST_DIRECTORIES = 64
_MOST_ENTRIES = 20_000  # of all directories together


class _Form:
    """How numbers stand in this file: classic TIFF or BigTIFF, in one of two byte orders."""

    def __init__(self, head: bytes) -> None:
        order, big = _ORDERS[head[:2]], head[:4] in BIG
        self.order = order
        self.offset = struct.Struct(f"{order}{'Q' if big else 'I'}")
        self.count = struct.Struct(f"{order}{'Q' if big else 'H'}")
        self.entry = struct.Struct(f"{order}HH{'QQ' if big else 'II'}")
        self.first = 8 if big else 4
        self.value = 12 if big else 8  # where an entry has its value


def cleaned(photo: bytes) -> bytes:
    """The TIFF without EXIF data, place, XMP, IPTC, texts and serial numbers. Orientation and pixels stay.

    Raises BadImage when it names the same data again and again.
    """
    return _Cleaning(photo).run()


class _Cleaning:
    """Goes through the directories of one file, each once."""

    def __init__(self, photo: bytes) -> None:
        self._photo = photo
        self._form = _Form(photo)
        self._copy = Copy(photo)
        self._seen: set[tuple[int, bool]] = set()
        self._entries_left = _MOST_ENTRIES

    def run(self) -> bytes:
        todo = [(self._offset(self._form.first), False)]
        while todo and len(self._seen) < _MOST_DIRECTORIES:
            place = todo.pop()
            if place in self._seen or not 0 < place[0] < len(self._photo):
                continue
            self._seen.add(place)
            start, blanked = place
            # A directory behind the end of a file that is cut short: the others are cleaned all the same.
            with suppress(struct.error):
                todo += self._blank_directory(start) if blanked else self._look(start)
        return self._copy.result()

    def _look(self, start: int) -> list[tuple[int, bool]]:
        """Blank the private entries of a directory of pictures. Returns the directories to which it leads."""
        found: list[tuple[int, bool]] = []
        for at, tag, kind, count in self._entries(start):
            if tag == _SUB_DIRECTORIES:
                found += [(one, False) for one in self._numbers(at, kind, count)]
            elif tag in _DIRECTORIES:
                found.append((self._offset(at + self._form.value), True))
            elif tag in _PRIVATE:
                self._blank(at, kind, count)
        return found + [(one, False) for one in self._next(start)]

    def _blank_directory(self, start: int) -> list[tuple[int, bool]]:
        """Blank a directory and all its values: it has no entries then. Returns the directories below it."""
        found, end = [], start + self._form.count.size
        for at, tag, kind, count in self._entries(start):
            if tag in _DIRECTORIES:
                found.append((self._offset(at + self._form.value), True))
            self._blank(at, kind, count)
            end = at + self._form.entry.size
        self._copy.overwrite(start, end)
        return found

    def _blank(self, at: int, kind: int, count: int) -> None:
        length = _TYPE_BYTES.get(kind, 1) * count
        start = self._place(at, length)
        self._copy.overwrite(start, start + length)

    def _entries(self, start: int) -> Iterator[tuple[int, int, int, int]]:
        """Of each entry of a directory: where it stands, tag, type, count."""
        if start + self._form.count.size > len(self._photo):
            return
        (entries,) = self._form.count.unpack_from(self._photo, start)
        for number in range(entries):
            at = start + self._form.count.size + number * self._form.entry.size
            if at + self._form.entry.size > len(self._photo):
                return
            self._entries_left -= 1
            if self._entries_left < 0:
                raise BadImage("the image has more entries in its directories than any program writes")
            tag, kind, count, _ = self._form.entry.unpack_from(self._photo, at)
            yield at, tag, kind, count

    def _next(self, start: int) -> list[int]:
        """Where the next directory begins; nothing behind the last."""
        (entries,) = self._form.count.unpack_from(self._photo, start)
        at = start + self._form.count.size + entries * self._form.entry.size
        return [self._offset(at)] if at + self._form.offset.size <= len(self._photo) else []

    def _place(self, at: int, length: int) -> int:
        """Where the value of an entry stands: in the entry if it is short."""
        value = at + self._form.value
        return value if length <= self._form.offset.size else self._offset(value)

    def _numbers(self, at: int, kind: int, count: int) -> list[int]:
        each = struct.Struct(f"{self._form.order}{'Q' if _TYPE_BYTES.get(kind) == 8 else 'I'}")
        count = min(count, _MOST_DIRECTORIES)
        start = self._place(at, count * each.size)
        return [each.unpack_from(self._photo, start + number * each.size)[0] for number in range(count)]

    def _offset(self, at: int) -> int:
        return int(self._form.offset.unpack_from(self._photo, at)[0])
