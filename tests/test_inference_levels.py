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


def with_tag(payload: bytes, tag: int, value: int, order: str = "<") -> bytes:
    """The TIFF with another value of a tag that it has. order: < or >."""
    (start,) = struct.unpack(f"{order}I", payload[4:8])
    (count,) = struct.unpack(f"{order}H", payload[start : start + 2])
    for place in range(start + 2, start + 2 + 12 * count, 12):
        if struct.unpack(f"{order}H", payload[place : place + 2]) == (tag,):
            return payload[: place + 8] + struct.pack(f"{order}H", value) + payload[place + 10 :]
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


@pytest.mark.parametrize("white", [1023, 4095, 16_383])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_10_to_14_bits_in_16_are_not_dark(white: int, kind: str) -> None:
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


def rgb_tiff(
    values: np.ndarray, order: str = "<", kind: str = "u2", packed: bool = False, planes: bool = False
) -> bytes:
    """A TIFF of RGB or greys, 16-bit unless `kind` says otherwise. order: < or >. packed: with deflate. planes: one a
    colour."""
    height, width, *bands = values.shape
    count = bands[0] if bands else 1
    strips = [values[:, :, band] for band in range(count)] if planes else [values]
    parts = [strip.astype(f"{order}{kind}").tobytes() for strip in strips]
    parts = [zlib.compress(part) for part in parts] if packed else parts
    bits, sample_format = 8 * int(kind[1:]), {"u": 1, "i": 2, "f": 3}[kind[0]]
    entries = [
        (256, "I", [width]), (257, "I", [height]), (258, "H", [bits] * count), (259, "H", [8 if packed else 1]),
        (262, "H", [2 if bands else 1]), (273, "I", [0] * len(parts)), (277, "H", [count]), (278, "I", [height]),
        (279, "I", [len(part) for part in parts]), (284, "H", [2 if planes else 1]),
        (339, "H", [sample_format] * count),
    ]  # fmt: skip
    place = 8 + 2 + 12 * len(entries) + 4
    start = place + sum(struct.calcsize(f"{len(found)}{size}") for _, size, found in entries if len(found) > 1)
    entries[5] = (273, "I", [start + sum(map(len, parts[:number])) for number in range(len(parts))])
    directory, shared = struct.pack(f"{order}H", len(entries)), b""
    for tag, size, found in entries:
        body = struct.pack(f"{order}{len(found)}{size}", *found)
        shown = body.ljust(4, b"\0") if len(found) == 1 else struct.pack(f"{order}I", place + len(shared))
        shared += body if len(found) > 1 else b""
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[size], len(found)) + shown
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}I", 8) + directory + bytes(4) + shared + b"".join(parts)


def in_bits(white: int, mode: str = "RGB") -> np.ndarray:
    deep = np.asarray(cat().convert(mode)).astype(np.uint32) * white // 255
    deep[150, 225] = white
    return deep.astype(np.uint16)


@pytest.mark.parametrize("white", [1023, 4095, 16_383, 65_535])
def test_10_to_14_bits_in_16_are_not_dark_in_colour_either(white: int) -> None:
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


@pytest.mark.parametrize("kind", ["u1", "u2", "u4", "f4"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("planes", [False, True])
def test_colours_can_be_deep_and_in_planes(kind: str, order: str, packed: bool, planes: bool) -> None:
    white = 1 if kind == "f4" else 2 ** (8 * int(kind[1])) - 1
    values = np.asarray(cat()).astype(float) / 255 * white

    seen = square(rgb_tiff(values, order, kind, packed, planes))

    assert difference(seen, square(encoded(cat(), "PNG"))) < 3


@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4", "f2", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zero_is_white", [False, True])
def test_greys_can_be_deep_and_zero_can_be_white(kind: str, order: str, zero_is_white: bool) -> None:
    stretched = (GREY.astype(float) - GREY.min()) / (GREY.max() - GREY.min())
    most = 1.0 if kind[0] == "f" else 2.0 ** (8 * int(kind[1]) - (kind[0] == "i")) - 1
    payload = rgb_tiff((1 - stretched if zero_is_white else stretched) * most, order, kind)

    seen = square(with_tag(payload, 262, 0, order) if zero_is_white else payload)

    assert difference(seen, square(encoded(Image.fromarray((stretched * 255).astype(np.uint8)), "PNG"))) < 1.5


def test_deep_colours_of_another_kind_are_called_that() -> None:
    tiles = rgb_tiff(np.asarray(cat()).astype(float), planes=True).replace(
        struct.pack("<H", 273), struct.pack("<H", 324), 1
    )

    with pytest.raises(BadImage, match="of a kind that is not read here"):
        square(tiles)


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
