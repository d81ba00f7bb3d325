"""A GIF without private data: comments and unknown extensions are left out, and what stands behind the picture."""

from __future__ import annotations

from shoal.errors import BadImage

_EXTENSION, _PICTURE, _END = 0x21, 0x2C, 0x3B
_CONTROL, _COMMENT, _APPLICATION = 0xF9, 0xFE, 0xFF
_MOST_PARTS = 200_000  # pictures and extensions: an hour of animation has less
_KEPT_APPLICATIONS = (b"NETSCAPE2.0", b"ANIMEXTS1.0", b"ICCRGBG1012")


def cleaned(photo: bytes) -> bytes:
    """The GIF without comments, texts and XMP. Raises BadImage for one of more parts than any program writes."""
    kept = [[0, 13 + _colours(photo[10])]]
    position, size, parts = kept[0][1], len(photo), 0
    while position < size:
        parts += 1
        if parts > _MOST_PARTS:
            raise BadImage("the image has more parts than any program writes")
        code = photo[position]
        start = position
        if code == _PICTURE:
            position = _after_blocks(photo, position + 11 + _colours(_byte(photo, position + 9)))
        elif code == _EXTENSION:
            position = _after_blocks(photo, position + 2)
        elif code == _END:
            position += 1
        else:
            return photo  # no decoder goes on from here either
        if code != _EXTENSION or _is_kept(_byte(photo, start + 1), photo[start + 3 : start + 14]):
            if kept[-1][1] == start:
                kept[-1][1] = position
            else:
                kept.append([start, position])
        if code == _END:
            break
    if kept == [[0, size]]:
        return photo
    return b"".join(memoryview(photo)[start:end] for start, end in kept)


def _is_kept(label: int, name: bytes) -> bool:
    return label == _CONTROL or (label == _APPLICATION and name in _KEPT_APPLICATIONS)


def _byte(photo: bytes, position: int) -> int:
    """0 behind the end of a file that is cut short: what stands before the cut is cleaned all the same."""
    return photo[position] if position < len(photo) else 0


def _colours(flags: int) -> int:
    """The bytes of a table of colours."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(photo: bytes, position: int) -> int:
    """Behind the blocks at a position, each a length and as many bytes, the last of length 0."""
    size = len(photo)
    while position < size and photo[position]:
        position += 1 + photo[position]
    return min(position + 1, size)
