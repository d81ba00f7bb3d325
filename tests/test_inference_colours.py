"""A photo shows the colours that its profile says, and transparency that means nothing hides nothing."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from inference import images
from inference.decoding import colours
from tests.inference_fixtures import MAX_PIXELS, cat, encoded

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped() -> bytes:
    """A profile whose red is sRGB's green, whose green is its blue, and whose blue is its red."""
    profile = bytearray(SRGB)
    places = [profile.index(name + b"XYZ", 132) for name in (b"r", b"g", b"b")]
    offsets = [bytes(profile[place + 4 : place + 12]) for place in places]
    for place, offset in zip(places, offsets[1:] + offsets[:1], strict=True):
        profile[place + 4 : place + 12] = offset
    return bytes(profile)


def grey_gamma_one() -> bytes:
    """A profile of greys that are proportional to the light."""
    tags = [(b"wtpt", b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)), (b"kTRC", b"curv" + bytes(8))]
    start = 128 + 4 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for name, body in tags:
        table += name + struct.pack(">II", start + len(data), len(body))
        data += body
    header = bytearray(SRGB[:128])
    header[16:20] = b"GRAY"
    header[0:4] = struct.pack(">I", start + len(data))
    return bytes(header) + table + data


def square(payload: bytes) -> np.ndarray:
    return images.open_square(payload, 224, MAX_PIXELS).pixels


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def stored_in_swapped_colours(mode: str) -> Image.Image:
    red, green, blue = cat().split()
    bands = [green, blue, red] + ([Image.new("L", cat().size, 255)] if mode == "RGBA" else [])
    return Image.merge(mode, bands)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("JPEG", "RGB"), ("PNG", "RGB"), ("PNG", "RGBA"), ("WEBP", "RGB"), ("WEBP", "RGBA"), ("TIFF", "RGB")],
)
def test_colours_mean_what_the_profile_says(kind: str, mode: str) -> None:
    payload = encoded(stored_in_swapped_colours(mode), kind, icc_profile=swapped(), quality=95)

    assert difference(square(payload), square(encoded(cat(), "PNG"))) < 5
    with Image.open(io.BytesIO(images.thumbnail(payload, 200, MAX_PIXELS))) as small:
        expected = Image.open(io.BytesIO(images.thumbnail(encoded(cat(), "PNG"), 200, MAX_PIXELS)))
        assert difference(np.asarray(small), np.asarray(expected)) < 6
        assert "icc_profile" not in small.info


def test_greys_mean_what_the_profile_says() -> None:
    payload = encoded(Image.new("L", (300, 300), 55), "PNG", icc_profile=grey_gamma_one())

    assert abs(int(square(payload)[0, 0, 0]) - 128) < 3


def test_transparency_stays_with_a_profile() -> None:
    clear = Image.new("RGBA", (300, 300), (10, 20, 30, 0))

    assert (square(encoded(clear, "PNG", icc_profile=swapped())) == 255).all()


@pytest.mark.parametrize(
    "profile",
    [b"x" * 10, b"x" * 4000, SRGB[:200], SRGB[:16] + b"CMYK" + SRGB[20:], SRGB[:16] + b"GRAY" + SRGB[20:]],
    ids=["short", "junk", "cut", "of inks", "of greys"],
)
def test_a_broken_profile_is_ignored(profile: bytes) -> None:
    payload = encoded(cat(), "JPEG", icc_profile=profile)

    assert (square(payload) == square(encoded(cat(), "JPEG"))).all()


def test_srgb_changes_nothing() -> None:
    assert (square(encoded(cat(), "JPEG", icc_profile=SRGB)) == square(encoded(cat(), "JPEG"))).all()


def test_few_profiles_are_kept() -> None:
    for number in range(50):
        colours.to_srgb(Image.new("RGB", (8, 8)), swapped() + bytes([number]))

    assert len(colours._transforms) <= colours._KEPT


def bmp(alpha: int) -> bytes:
    """A BMP of 32 bits whose header has a mask for the fourth byte."""
    rows = np.asarray(cat())[::-1, :, ::-1]
    pixels = np.dstack([rows, np.full(rows.shape[:2], alpha, np.uint8)]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 124, *cat().size, 1, 32, 3, len(pixels), 2835, 2835, 0, 0)
    header += masks + b"BGRs" + bytes(124 - 40 - 16 - 4)
    return b"BM" + struct.pack("<IHHI", 14 + 124 + len(pixels), 0, 0, 14 + 124) + header + pixels


def test_a_bmp_whose_fourth_bytes_are_all_zero_is_opaque() -> None:
    assert difference(square(bmp(0)), square(encoded(cat(), "PNG"))) == 0
    assert difference(square(bmp(255)), square(encoded(cat(), "PNG"))) == 0


def test_a_bmp_with_real_transparency_is_shown_on_white() -> None:
    assert (square(bmp(1)) >= 253).all()
