"""Greys of more than 8 bits show what they mean, and files with several pictures say so."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from inference import images
from inference.decoding import levels
from shoal.errors import BadImage
from tests.inference_fixtures import MAX_PIXELS, cat, encoded
from tests.test_inference_side_data import chunk

GREY = np.asarray(cat().convert("L"))


def square(payload: bytes) -> np.ndarray:
    return images.open_square(payload, 224, MAX_PIXELS).pixels


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def tiff(values: np.ndarray, tags: dict[int, Any]) -> bytes:
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        directory[tag] = value
    return encoded(Image.fromarray(values), "TIFF", tiffinfo=directory)


def with_tag(payload: bytes, tag: int, value: int) -> bytes:
    """The TIFF with another value of a tag that it has."""
    start = int.from_bytes(payload[4:8], "little") + 2
    changed = bytearray(payload)
    for place in range(start, start + 12 * int.from_bytes(payload[start - 2 : start], "little"), 12):
        if int.from_bytes(payload[place : place + 2], "little") == tag:
            changed[place + 8 : place + 10] = value.to_bytes(2, "little")
            return bytes(changed)
    raise AssertionError(f"no tag {tag}")


def expected() -> np.ndarray:
    return square(encoded(Image.fromarray(GREY), "PNG"))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_zero_can_be_white(kind: type) -> None:
    stretched = (GREY.astype(float) - GREY.min()) / (GREY.max() - GREY.min())
    scale = 255 if kind is np.uint8 else 65_535
    payload = tiff(((1 - stretched) * scale).astype(kind), {})

    seen = square(with_tag(payload, 262, 0))

    assert difference(seen, square(encoded(Image.fromarray((stretched * 255).astype(np.uint8)), "PNG"))) < 1.5


@pytest.mark.parametrize("white", [1023, 4095])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_10_and_12_bits_in_16_are_not_dark(white: int, kind: str) -> None:
    deep = (GREY.astype(np.uint32) * white // 255).astype(np.uint16)
    deep[150, 225] = white

    assert difference(square(encoded(Image.fromarray(deep), kind)), expected()) < 1.5


def png16(values: np.ndarray, bits: int = 0) -> bytes:
    """A PNG of 16 bits, of greys, RGB or RGBA by the shape of `values`, and with a chunk sBIT if `bits`."""
    height, width, *bands = values.shape
    count = bands[0] if bands else 1
    rows = values.astype(">u2").reshape(height, -1)
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    kind = {1: 0, 3: 2, 4: 6}[count]
    sbit = chunk(b"sBIT", bytes([bits] * count)) if bits else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + sbit + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def rgb_tiff(values: np.ndarray, order: str = "<", kind: str = "u2", packed: bool = False) -> bytes:
    """A TIFF of RGB, 16-bit unless `kind` says otherwise. order: < or >. packed: with deflate."""
    height, width, _ = values.shape
    pixels = values.astype(f"{order}{kind}").tobytes()
    pixels = zlib.compress(pixels) if packed else pixels
    start = 8 + 2 + 12 * 10 + 4
    short, long = 3, 4
    entries = [
        (256, long, 1, width), (257, long, 1, height), (258, short, 3, start), (259, short, 1, 8 if packed else 1),
        (262, short, 1, 2), (273, long, 1, start + 12), (277, short, 1, 3), (278, long, 1, height),
        (279, long, 1, len(pixels)), (339, short, 3, start + 6),
    ]  # fmt: skip
    directory = struct.pack(f"{order}H", len(entries))
    for tag, size, count, value in entries:
        shown = struct.pack(f"{order}HH", value, 0) if size == short and count == 1 else struct.pack(f"{order}I", value)
        directory += struct.pack(f"{order}HHI", tag, size, count) + shown
    mark = b"II*\0" if order == "<" else b"MM\0*"
    bits, sample_format = 8 * int(kind[1:]), 3 if kind[0] == "f" else 1
    shared = struct.pack(f"{order}6H", *[bits] * 3, *[sample_format] * 3)
    return mark + struct.pack(f"{order}I", 8) + directory + bytes(4) + shared + pixels


def in_bits(white: int, mode: str = "RGB") -> np.ndarray:
    deep = np.asarray(cat().convert(mode)).astype(np.uint32) * white // 255
    deep[150, 225] = white
    return deep.astype(np.uint16)


@pytest.mark.parametrize("white", [1023, 4095, 65_535])
def test_10_and_12_bits_in_16_are_not_dark_in_colour_either(white: int) -> None:
    colours = square(encoded(cat(), "PNG"))

    assert difference(square(png16(in_bits(white))), colours) < 1.5
    assert difference(square(png16(in_bits(white, "RGBA"))), colours) < 1.5
    for order in "<>":
        assert difference(square(rgb_tiff(in_bits(white), order)), colours) < 1.5


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_png_can_say_how_many_bits_mean_something(mode: str) -> None:
    dim = np.asarray(cat().convert(mode)).astype(np.uint16) * 3  # at most 765 of 4095
    scaled_up = np.asarray(cat().convert(mode)).astype(np.uint16) * 257

    assert difference(square(png16(dim, 12)), square(encoded(cat().convert(mode), "PNG")) * (765 / 4095)) < 1.5
    assert difference(square(png16(scaled_up, 12)), square(png16(scaled_up))) == 0


@pytest.mark.parametrize("kind", ["f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_colours_can_be_floats(kind: str, order: str, packed: bool) -> None:
    values = np.asarray(cat()) / 255
    values[150, 225] = 1

    for scale in (1, 1000):
        payload = rgb_tiff(values * scale, order, kind, packed)
        assert images.inspect(io.BytesIO(payload), len(payload), MAX_PIXELS).format == "TIFF"
        assert difference(square(payload), square(encoded(cat(), "PNG"))) < 3
        assert images.thumbnail(payload, 100, MAX_PIXELS)


def test_bad_float_colours_are_refused_and_cost_little() -> None:
    values = np.asarray(cat()) / 255
    for bad in (rgb_tiff(values, kind="f4")[:-100_000], rgb_tiff(values, kind="f4", packed=True)[:-9_000]):
        with pytest.raises(BadImage, match="damaged"):
            square(bad)
    bomb = rgb_tiff(np.zeros((4_000, 4_500, 3), np.float32), kind="f4", packed=True)
    with pytest.raises(BadImage, match="of a kind that is not read here"):
        square(bomb)
    odd = np.asarray(cat()) / 255
    odd[:10] = np.nan
    odd[10:20] = np.inf
    assert square(rgb_tiff(odd, kind="f4")).shape == (224, 224, 3)


def test_a_tiff_can_say_what_white_is() -> None:
    deep = (GREY.astype(np.uint32) * 16_383 // 255).astype(np.uint16)

    assert difference(square(tiff(deep, {281: 16_383})), expected()) < 1.5


def test_unsigned_32_bit_greys_are_not_negative() -> None:
    deep = (GREY.astype(np.uint64) * 4_294_967_295 // 255).astype(np.uint32).view(np.int32)
    lowest, highest = int(GREY.min()), int(GREY.max())

    seen = square(with_tag(tiff(deep, {339: 1}), 339, 1))

    stretched = ((GREY.astype(float) - lowest) * 255 / (highest - lowest)).astype(np.uint8)
    assert difference(seen, square(encoded(Image.fromarray(stretched), "PNG"))) < 1.5


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_the_first_of_several_pictures_is_labelled_and_that_is_said(kind: str) -> None:
    payload = encoded(cat(), kind, save_all=True, append_images=[Image.new("RGB", cat().size)])

    opened = images.open_square(payload, 224, MAX_PIXELS)

    assert opened.warnings == (levels.PAGES,)
    assert (opened.pixels == square(encoded(cat(), "PNG"))).all()


@pytest.mark.parametrize("kind", ["TIFF", "PNG"])
def test_of_a_single_picture_nothing_is_said(kind: str) -> None:
    assert images.open_square(encoded(cat(), kind), 224, MAX_PIXELS).warnings == ()


def test_a_tiff_of_another_kind_is_called_that() -> None:
    payload = with_tag(tiff(GREY.astype(np.int32), {}), 262, 0)

    with pytest.raises(BadImage, match="of a kind that is not read here"):
        square(payload)
