"""Files that only look like photos: cut, huge when decoded, of two kinds, wrongly named, or nothing at all."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress

from PIL import Image

SUFFIXES = ("jpg", "png", "heic", "webp", "pdf")
MAKERS: tuple[Callable[[random.Random], tuple[bytes, str]], ...]


def draw(choice: random.Random) -> tuple[bytes, str]:
    """A random one: its bytes, and the suffix of its name."""
    return choice.choice(MAKERS)(choice)


def _photo(choice: random.Random, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    noise = Image.frombytes("RGB", (64, 48), choice.randbytes(64 * 48 * 3))
    noise.save(file, kind, **options)
    return file.getvalue()


def _cut(choice: random.Random) -> tuple[bytes, str]:
    kind = choice.choice(("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"))
    whole = _photo(choice, kind)
    return whole[: choice.randrange(1, len(whole))], kind.lower()


def _changed(choice: random.Random) -> tuple[bytes, str]:
    kind = choice.choice(("JPEG", "PNG", "WEBP", "GIF", "TIFF"))
    whole = bytearray(_photo(choice, kind))
    for _ in range(choice.randint(1, 40)):
        whole[choice.randrange(len(whole))] = choice.randrange(256)
    return bytes(whole), kind.lower()


def _noise(choice: random.Random) -> tuple[bytes, str]:
    return choice.randbytes(choice.randint(1, 5_000)), choice.choice(("jpg", "png", "heic", "txt"))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, *chunks: bytes) -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + _chunk(b"IEND", b"")


def _bomb(choice: random.Random) -> tuple[bytes, str]:
    side = choice.choice((9_000, 30_000, 2_000_000_000))
    rows = zlib.compress(bytes(10_000_000), 9)
    return _png(side, side, _chunk(b"IDAT", rows)), "png"


def _narrow(choice: random.Random) -> tuple[bytes, str]:
    sides = (1, 40_000_000) if choice.random() < 0.5 else (40_000_000, 1)
    return _png(*sides, _chunk(b"IDAT", zlib.compress(bytes(1_000_000)))), "png"


def _many_chunks(choice: random.Random) -> tuple[bytes, str]:
    text = _chunk(b"tEXt", b"a\0b")
    return _png(8, 8, *[text] * choice.randint(10_000, 60_000), _chunk(b"IDAT", zlib.compress(bytes(200)))), "png"


def _many_scans(choice: random.Random) -> tuple[bytes, str]:
    whole = _photo(choice, progressive=True)
    start = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[start:-2] * choice.randint(500, 3_000) + b"\xff\xd9", "jpg"


def _two_kinds(choice: random.Random) -> tuple[bytes, str]:
    script = b"<script>alert(1)</script><svg onload=alert(1)>"
    return (_photo(choice, "GIF") + script if choice.random() < 0.5 else script + _photo(choice)), "html"


def _many_frames(choice: random.Random) -> tuple[bytes, str]:
    file = io.BytesIO()
    first = Image.new("P", (300, 300))
    first.save(file, "GIF", save_all=True, append_images=[first.copy()] * choice.randint(50, 300))
    return file.getvalue(), "gif"


def each_format(choice: random.Random) -> list[tuple[bytes, str]]:
    """A picture in each format that Pillow writes, with the suffix of another one. Few of them are photos for Shoal."""
    made = [one for kind in _formats() if (one := _in_some_mode(choice, kind))]
    return [(one, choice.choice(SUFFIXES)) for one in made]


def _formats() -> list[str]:
    Image.init()
    return sorted(Image.SAVE)


def _in_some_mode(choice: random.Random, kind: str) -> bytes | None:
    """None for a format that Pillow writes only with another program."""
    for mode in ("RGB", "P", "L", "1", "F"):
        file = io.BytesIO()
        with suppress(OSError, ValueError, KeyError):
            Image.frombytes("RGB", (64, 48), choice.randbytes(64 * 48 * 3)).convert(mode).save(file, kind)
            return file.getvalue()
    return None


def _other_format(choice: random.Random) -> tuple[bytes, str]:
    while (made := _in_some_mode(choice, choice.choice(_formats()))) is None:
        pass
    return made, choice.choice(SUFFIXES)


MAKERS = (
    _cut,
    _changed,
    _noise,
    _bomb,
    _narrow,
    _many_chunks,
    _many_scans,
    _two_kinds,
    _many_frames,
    _other_format,
)
