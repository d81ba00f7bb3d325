"""Files that are cut short are labelled as far as they go, with a warning; training leaves them out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from inference import images
from inference.decoding import cut_files
from shoal.errors import BadImage
from tests.inference_fixtures import MAX_PIXELS, cat, encoded
from tests.test_inference_levels import rgb_tiff

DEEP = Image.fromarray(np.asarray(cat().convert("L")).astype(np.uint16) * 257)
KINDS: dict[str, tuple[Image.Image, str, dict[str, Any]]] = {
    "JPEG": (cat(), "JPEG", {}),
    "grey JPEG": (cat().convert("L"), "JPEG", {}),
    "CMYK JPEG": (cat().convert("CMYK"), "JPEG", {}),
    "PNG": (cat(), "PNG", {}),
    "16-bit PNG": (DEEP, "PNG", {}),
    "PNG with a palette": (cat().convert("P"), "PNG", {}),
    "PNG with transparency": (cat().convert("RGBA"), "PNG", {}),
    "WebP": (cat(), "WEBP", {}),
    "lossless WebP": (cat(), "WEBP", {"lossless": True}),
    "BMP": (cat(), "BMP", {}),
    "TIFF": (cat(), "TIFF", {}),
    "GIF": (cat(), "GIF", {"interlace": False}),
}


def opened(payload: bytes) -> images.Opened:
    return images.open_square(payload, 224, MAX_PIXELS)


def difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_a_cut_file_shows_what_it_has_and_says_how_much_is_missing(name: str, kept: float) -> None:
    image, kind, options = KINDS[name]
    payload = encoded(image, kind, **options)
    whole = opened(payload)

    cut = opened(payload[: round(len(payload) * kept)])

    assert whole.warnings == ()
    head = io.BytesIO(payload[: round(len(payload) * kept)])
    assert images.inspect(head, len(payload), MAX_PIXELS).width == image.width
    assert head.tell() == 0
    (text,) = cut.warnings
    assert text.startswith(f"{cut_files.CUT}: ")
    assert text.endswith(" of the picture is missing")
    share = int(text.split(": ")[1].split("%")[0]) / 100
    assert abs(1 - kept - share) < 0.12
    left = slice(120, 220) if kind == "BMP" else slice(0, 80)  # a BMP begins with the last row
    assert difference(cut.pixels[left], whole.pixels[left]) < 3
    assert max(Image.open(io.BytesIO(images.thumbnail(payload[: len(payload) // 2], 100, MAX_PIXELS))).size) == 100


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_marker_is_whole(missing: int, progressive: bool) -> None:
    payload = encoded(cat(), "JPEG", progressive=progressive)

    cut = opened(payload[:-missing])

    assert cut.warnings == ()
    assert (cut.pixels == opened(payload).pixels).all()


def test_a_jpeg_that_misses_its_last_bytes_is_not_whole() -> None:
    assert opened(encoded(cat(), "JPEG")[:-12]).warnings


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_tiff_that_has_lost_one_of_its_colours_says_so(packed: bool) -> None:
    payload = rgb_tiff(np.asarray(cat()), kind="u1", packed=packed, planes=True)

    (text,) = opened(payload[: round(len(payload) * 0.7)]).warnings

    assert text == f"{cut_files.CUT}: 30% of the picture is missing"


@pytest.mark.parametrize("tail", [bytes(2_000), b"\xff" * 2_000, b"<html>504 Gateway Time-out</html>"])
def test_a_jpeg_that_ends_in_something_else_is_not_whole(tail: bytes) -> None:
    payload = encoded(cat(), "JPEG")

    (text,) = opened(payload[: len(payload) // 2] + tail).warnings

    assert text.endswith(" of the picture is missing")


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        (0.95, "of the fine details are missing"),
        (0.5, "the fine details are missing"),
        (0.1, "the fine details are missing"),
    ],
)
def test_a_cut_progressive_jpeg_misses_details(kept: float, text: str) -> None:
    payload = encoded(cat(), "JPEG", progressive=True)

    cut = opened(payload[: int(len(payload) * kept)])

    assert cut.warnings[0].endswith(text)
    assert difference(cut.pixels, opened(payload).pixels) < 12


def test_a_progressive_jpeg_cut_in_its_first_scan_misses_a_part_of_the_picture() -> None:
    payload = encoded(cat(), "JPEG", progressive=True)
    second = payload.index(b"\xff\xda", payload.index(b"\xff\xda") + 2)

    assert opened(payload[: second * 2 // 3]).warnings[0].endswith("of the picture is missing")


def test_a_cut_interlaced_gif_shows_the_rows_that_arrived() -> None:
    payload = encoded(cat(), "GIF", interlace=True)

    cut = opened(payload[: len(payload) * 6 // 10])

    assert cut.warnings
    assert difference(cut.pixels, opened(payload).pixels) < 15


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
def test_a_header_without_pixels_is_a_bad_image(kind: str) -> None:
    payload = encoded(cat(), kind)
    start = {"PNG": 45, "WEBP": 25, "BMP": 54, "TIFF": 40, "GIF": 790}.get(kind) or payload.index(b"\xff\xda")

    with pytest.raises(BadImage, match=r"damaged|not an image"):
        opened(payload[:start])


def test_a_webp_that_claims_gigabytes_is_a_bad_image() -> None:
    payload = encoded(cat(), "WEBP")

    with pytest.raises(BadImage):
        opened(payload[:4] + b"\xf0\xff\xff\xff" + payload[8 : len(payload) // 2])


def test_training_takes_whole_photos_only() -> None:
    cut = opened(encoded(cat(), "JPEG")[:-3000]).warnings

    with pytest.raises(BadImage, match="cut short"):
        cut_files.check_whole(("the photo is very small", *cut))
    cut_files.check_whole(("the photo is very small",))
