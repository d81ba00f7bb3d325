"""What stands beside the pixels of a photo, right or wrong, never costs the photo."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from inference import images
from inference.decoding import png_chunks
from shoal.errors import BadImage
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, cat, encoded

PNG = encoded(cat(), "PNG")
HEADER_END = 33  # the signature and IHDR
WRONG = b"\0\0\0\0"


def chunk(kind: bytes, body: bytes, checksum: bytes | None = None) -> bytes:
    right = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + (checksum if checksum is not None else right)


def packed(count: int) -> bytes:
    return zlib.compress(bytes(count), 9)


def square(payload: bytes) -> np.ndarray:
    return images.open_square(payload, 224, MAX_PIXELS).pixels


SIDE_DATA = {
    "packed text": chunk(b"zTXt", b"workflow\0\0" + packed(3_000_000)),
    "packed international text": chunk(b"iTXt", b"parameters\0\1\0\0\0" + packed(3_000_000)),
    "plain text": chunk(b"tEXt", b"prompt\0" + b"a" * 3_000_000),
    "XMP data": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed(3_000_000)),
    "a large profile": chunk(b"iCCP", b"icc\0\0" + packed(3_000_000)),
    "a profile packed by an unknown method": chunk(b"iCCP", b"icc\0\7" + packed(30)),
    "a profile without a name": chunk(b"iCCP", b""),
    "EXIF data as text": chunk(b"zTXt", b"Raw profile type exif\0\0" + packed(3_000_000)),
    "a wrong checksum in pHYs": chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), WRONG),
    "a wrong checksum in text": chunk(b"tEXt", b"Comment\0hello", WRONG),
    "a wrong checksum in a profile": chunk(b"iCCP", b"icc\0\0" + packed(30), WRONG),
    "a wrong checksum in EXIF data": chunk(b"eXIf", b"II*\0", WRONG),
    "a wrong checksum in an unknown chunk": chunk(b"vpAg", b"12345", WRONG),
    "a short pHYs": chunk(b"pHYs", b"1"),
    "a chunk of an odd name": chunk(b"a\xe4\0-", b"12345"),
}


@pytest.mark.parametrize("name", SIDE_DATA)
@pytest.mark.parametrize("at", [HEADER_END, len(PNG) - 12], ids=["before the pixels", "after the pixels"])
def test_side_data_of_a_png_never_cost_the_photo(name: str, at: int) -> None:
    payload = PNG[:at] + SIDE_DATA[name] + PNG[at:]

    assert images.inspect(io.BytesIO(payload), MAX_BYTES, MAX_PIXELS).width == cat().width
    assert (square(payload) == square(PNG)).all()
    assert images.thumbnail(payload, 100, MAX_PIXELS) == images.thumbnail(PNG, 100, MAX_PIXELS)


def test_bombs_in_side_data_cost_no_memory() -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + packed(200_000_000)) + chunk(b"iCCP", b"a\0\0" + packed(200_000_000))
    payload = PNG[:HEADER_END] + bomb * 4 + PNG[HEADER_END:]
    square(PNG)

    tracemalloc.start()
    square(payload)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < len(payload) + 8_000_000


def test_of_thousands_of_packed_texts_a_few_are_unpacked() -> None:
    """Each unpacks to a megabyte, and a file of 20 MB took more than a minute."""
    text = chunk(b"zTXt", b"Raw profile type exif\0\0" + packed(1_000_000))
    payload = PNG[:HEADER_END] + text * 3_000 + PNG[HEADER_END:]

    kept = png_chunks.copy(io.BytesIO(payload), pixels=True).getvalue()

    assert len(kept) <= len(PNG) + png_chunks.MOST_SIDE_DATA * len(text)
    assert square(payload).shape == square(PNG).shape


def test_the_orientation_of_a_png_counts_when_its_checksum_is_wrong() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(cat().transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    at = turned.index(b"eXIf") + 4 + int.from_bytes(turned[turned.index(b"eXIf") - 4 : turned.index(b"eXIf")], "big")

    assert images.open_square(turned[:at] + WRONG + turned[at + 4 :], 224, MAX_PIXELS).size == cat().size


def test_a_wrong_checksum_in_the_header_of_a_png_is_called_damage() -> None:
    with pytest.raises(BadImage, match="damaged"):
        square(PNG[: HEADER_END - 4] + WRONG + PNG[HEADER_END:])
