"""Refuses images whose structure makes them slow or large to decode, before a decoder sees them.

The number of bytes and pixels says little about the cost of an image: a JPEG of 400 KB can have 4,000 scans, and each
takes as long as a whole photo. So the parts of a file are counted first. All limits are here, with their reasons;
docs/worker.md has the worst images that pass them, measured.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO, NoReturn

from shoal.errors import BadImage

# A picture has its own memory for each row, so 50 million rows of one pixel take 1.3 GB.
SIDE = 65_535
JPEG_SIDE = 65_500  # libjpeg reads no longer ones

# libjpeg makes a JPEG of one scan smaller while it reads it: at half the sides, four times the pixels need no more
# memory than another photo needs.
REDUCED = 2

# Encoders write 1 scan, or about 10 in a progressive JPEG. For a JPEG inside a TIFF, libtiff has the same limit.
JPEG_SCANS = 100
# Each scan passes over all pixels: up to 12 s for 100 scans of 50 megapixels. 20 scans of 50 megapixels are accepted.
JPEG_SCANNED_PIXELS = 1_000_000_000

# The largest profile of colours has 255 segments; a photo has about 10. Pillow handles each in Python.
JPEG_SEGMENTS = 2_000
# Pillow skips what is between two segments byte by byte, in Python.
JPEG_PADDING = 100_000
# EXIF data fit in one segment of 64 KB. Pillow copies all again for each further segment.
EXIF_BYTES = 1_000_000

# 50 MB in the chunks of 8 KB that libpng writes are 6,400. Pillow handles each in Python.
PNG_CHUNKS = 20_000
# Chunks of the frames of a long animation included. The decoder keeps a list of them.
WEBP_CHUNKS = 20_000
# Before the first frame: comments and XMP, in blocks of at most 255 bytes. Pillow copies a comment for each block.
GIF_BLOCKS = 4_000

# The values of a TIFF directory (EXIF is one too) are parts of the file, but 65,535 entries may all name the same part:
# Pillow keeps a copy for each. In honest files they are not larger than the file.
TAG_BYTES = 16 * 1024 * 1024
# An offset and a length for each strip, and one strip for each of at most 65,535 rows. Pillow keeps an object for each.
TIFF_NUMBERS = 150_000
# The tags of the lengths of strips and of tiles.
_PART_LENGTHS = (279, 325)

_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")  # not escaped data, padding or a restart
_SOS, _EOI, _TEM, _APP1, _APP2 = 0xDA, 0xD9, 0x01, 0xE1, 0xE2
_SEQUENTIAL = (0xC0, 0xC1)
_OTHER_FRAMES = (0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF)  # progressive and rare ones
_SCAN_BLOCK = 1 << 18

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_DAMAGED = "the image is damaged or cut short"


def check_header(file: BinaryIO) -> None:
    """Count what Pillow reads when it opens an image, and rewind the file. Raises BadImage over a limit."""
    head = file.read(12)
    if head.startswith(b"\xff\xd8"):
        _check_jpeg_header(file)
    elif head.startswith(b"\x89PNG\r\n\x1a\n"):
        _check_chunks(file, 8, ">I4s", 4, PNG_CHUNKS)
    elif head.startswith(b"RIFF") and head[8:] == b"WEBP":
        _check_chunks(file, 12, "<4sI", 0, WEBP_CHUNKS)
    elif head.startswith((b"GIF87a", b"GIF89a")):
        _check_gif(file)
    elif head.startswith((b"II", b"MM")):
        _check_count(check_directory(file), TIFF_NUMBERS, "strips or tiles")
    file.seek(0)


def check_side(width: int, height: int, kind: str | None) -> None:
    """Raise BadImage if a side is too long. kind: the format, as Pillow names it."""
    most = JPEG_SIDE if kind in ("JPEG", "MPO") else SIDE
    if max(width, height) > most:
        raise BadImage(f"the photo is {max(width, height):,} pixels long; at most {most:,} are accepted")


def has_one_scan(file: BinaryIO) -> bool:
    """Whether a file is a JPEG that is decoded row by row: not progressive, and one scan has all its colours.

    For other JPEGs libjpeg keeps the whole picture at its full size.
    """
    file.seek(0)
    if file.read(2) != b"\xff\xd8":
        return False
    colours = 0
    while (code := _next_marker(file)[0]) not in (None, _EOI, *_OTHER_FRAMES):
        if code == _TEM:
            continue
        body = _read_segment(file, 6)
        if code in _SEQUENTIAL and len(body) == 6:
            colours = body[5]
        if code == _SOS:
            return bool(body) and colours == body[0]
    return False


def check_scans(file: BinaryIO, pixels: int) -> int | None:
    """Count the scans of a JPEG of so many pixels, and rewind the file. Raises BadImage over a limit.

    Returns None for a JPEG with an end and for other formats. Returns how many bytes are whole segments or scans if the
    JPEG is cut short.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    whole = _whole_scans(file, size, pixels) if file.read(2) == b"\xff\xd8" else None
    file.seek(0)
    return whole


def _whole_scans(file: BinaryIO, size: int, pixels: int) -> int | None:
    most = max(1, min(JPEG_SCANS, JPEG_SCANNED_PIXELS // pixels))
    scans = segments = 0
    while (code := _next_marker(file)[0]) != _EOI:
        if code is None:
            return size if scans else _raise_damaged()
        start = file.tell() - 2
        segments += 1
        scans += code == _SOS
        if scans > most:
            raise BadImage(f"the JPEG has more than {most} scans; for its size at most {most} are accepted")
        _check_count(segments, JPEG_SEGMENTS, "segments")
        if code != _TEM:
            _read_segment(file, 0)
        if file.tell() > size:
            return start if scans > (code == _SOS) else _raise_damaged()
    return None


def _raise_damaged() -> NoReturn:
    raise BadImage(_DAMAGED)


def check_directory(file: BinaryIO) -> int:
    """Check how many bytes the first directory of a TIFF file, or of EXIF data, makes a reader keep. Raises BadImage.

    Returns how many numbers it has.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    order = ">" if file.read(2) == b"MM" else "<"
    big = file.read(2) in (b"\x2b\x00", b"\x00\x2b")
    if big:
        file.seek(8)
    (start,) = _unpack(file, order + ("Q" if big else "I"))
    file.seek(min(start, size))
    (entries,) = _unpack(file, order + ("Q" if big else "H"))
    entry = struct.Struct(order + ("HHQQ" if big else "HHII"))
    numbers = total = 0
    for tag, kind, count, value in entry.iter_unpack(_whole(file.read(min(entries, 65_535) * entry.size), entry.size)):
        each = _TYPE_BYTES.get(kind, 1)
        total += min(count * each, size)
        numbers += count if each > 1 else 0
        if tag in _PART_LENGTHS and count * each > (8 if big else 4):  # shorter ones stand in the entry itself
            total += _length_of_parts(file, order, each, min(count, TIFF_NUMBERS), value)
    if total > size + TAG_BYTES:
        raise BadImage("the image's directory names the same data too often")
    return numbers


def _length_of_parts(file: BinaryIO, order: str, each: int, count: int, start: int) -> int:
    """The bytes of all strips or tiles together: 60,000 strips may all be the same data, decoded for each."""
    size = file.seek(0, io.SEEK_END)
    file.seek(min(start, size))
    data = _whole(file.read(count * each), each)
    form = {1: "B", 2: "H", 4: "I", 8: "Q"}[each]
    return sum(min(length, size) for length in struct.unpack(f"{order}{len(data) // each}{form}", data))


def _check_count(count: int, most: int, what: str) -> None:
    if count > most:
        raise BadImage(f"the image has more than {most:,} {what}, which no program writes into a photo")


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    size = struct.calcsize(form)
    return struct.unpack(form, file.read(size).ljust(size, b"\0"))


def _whole(data: bytes, size: int) -> bytes:
    return data[: len(data) // size * size]


def _check_jpeg_header(file: BinaryIO) -> None:
    file.seek(2)
    segments = padding = 0
    exif = b""
    while True:
        code, skipped = _next_marker(file)
        if code is None or code == _SOS:
            break
        padding += skipped
        segments += 1
        _check_count(padding, JPEG_PADDING, "bytes between segments")
        _check_count(segments, JPEG_SEGMENTS, "segments")
        if code == _TEM:
            continue
        if code < 0xC0 or code in (0xC8, 0xD8, _EOI) or 0xF0 <= code <= 0xFD:
            raise BadImage(_DAMAGED)  # libjpeg stops here; Pillow would not
        exif += _checked_segment(code, _read_segment(file, 0xFFFF if code in (_APP1, _APP2) else 0))
        _check_count(len(exif), EXIF_BYTES, "bytes of EXIF data")
    if exif:
        check_directory(io.BytesIO(exif))


def _checked_segment(code: int, body: bytes) -> bytes:
    """The EXIF data in a segment; b"" if there are none. Checks other directories at once."""
    if code == _APP2 and body.startswith(b"MPF\0"):
        check_directory(io.BytesIO(body[4:]))
    return body[6:] if code == _APP1 and body.startswith(b"Exif\0\0") else b""


def _next_marker(file: BinaryIO) -> tuple[int | None, int]:
    """The next marker of a JPEG, None at the end, and how many bytes were skipped. The file is left behind it."""
    start = file.tell()
    block = file.read(2)
    skipped = 0
    while len(block) > 1:
        found = _MARKER.search(block)
        if found:
            file.seek(start + skipped + found.end())
            return found[1][0], skipped + found.start()
        skipped += len(block) - 1  # the last byte may be the first half of a marker
        block = block[-1:] + file.read(_SCAN_BLOCK)
    return None, skipped


def _read_segment(file: BinaryIO, most: int) -> bytes:
    """At most `most` bytes of a segment. The file is left behind the segment."""
    (length,) = _unpack(file, ">H")
    end = file.tell() + max(0, length - 2)
    body = file.read(min(most, max(0, length - 2)))
    file.seek(end)
    return body


def _check_chunks(file: BinaryIO, start: int, form: str, checksum: int, most: int) -> None:
    size = file.seek(0, io.SEEK_END)
    position, chunks = start, 0
    while position < size:
        file.seek(position)
        first, second = _unpack(file, form)
        length = first if isinstance(first, int) else second + second % 2  # RIFF chunks have an even length
        position += 8 + length + checksum
        chunks += 1
        _check_count(chunks, most, "chunks")


def _check_gif(file: BinaryIO) -> None:
    file.seek(10)
    flags = file.read(3)[:1]
    if flags and flags[0] & 0x80:
        file.seek(3 << ((flags[0] & 7) + 1), io.SEEK_CUR)
    blocks = 0
    while (code := file.read(1)) not in (b"", b",", b";"):  # until the first frame, or the end
        _check_count(blocks := blocks + 1, GIF_BLOCKS, "blocks before its first frame")
        if code != b"!":
            continue
        file.read(1)
        while (length := file.read(1)) not in (b"", b"\0"):
            file.seek(length[0], io.SEEK_CUR)
            _check_count(blocks := blocks + 1, GIF_BLOCKS, "blocks before its first frame")
