"""Greys of more than 8 bits show what they mean, and files with several pictures say so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from inference import images
from inference.decoding import levels
from shoal.errors import BadImage
from tests.inference_fixtures import MAX_PIXELS, cat, encoded

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
