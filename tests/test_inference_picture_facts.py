"""The perceptual hash of a picture, and when and where its EXIF data say that it was taken."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageEnhance, ImageOps

from inference.picture_facts import Taken, perceptual_hash, taken
from shoal.errors import BadImage
from tests.inference_fixtures import EXAMPLES

PIXELS = 10_000_000
PHOTOS = sorted(EXAMPLES.glob("*.jpg"))


def encoded(image: Image.Image, form: str = "JPEG", **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **more)
    return out.getvalue()


def differing(first: bytes, second: bytes) -> int:
    one, other = (int(perceptual_hash(body, PIXELS), 16) for body in (first, second))
    return (one ^ other).bit_count()


@pytest.mark.parametrize("path", PHOTOS, ids=lambda path: path.stem)
def test_copies_in_another_size_quality_or_light_have_nearly_the_same_hash_and_others_have_not(path: Path) -> None:
    whole, image = path.read_bytes(), Image.open(path).convert("RGB")
    copies = [
        encoded(image.resize((image.width // 2, image.height // 2))),
        encoded(image, quality=40),
        encoded(image, "WEBP", quality=60),
        encoded(image, "PNG"),
        encoded(ImageEnhance.Contrast(image).enhance(1.2)),
    ]
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    copies.append(encoded(image.rotate(90, expand=True), exif=turned, quality=95))
    assert max(differing(whole, one) for one in copies) <= 4
    others = [differing(whole, one.read_bytes()) for one in PHOTOS if one != path]
    assert min([*others, differing(whole, encoded(ImageOps.mirror(image)))]) > 8
    assert len(perceptual_hash(whole, PIXELS)) == 16


def test_what_is_no_image_has_no_hash() -> None:
    assert perceptual_hash(encoded(Image.new("RGB", (1, 1))), PIXELS) == "0" * 16
    for body in (b"", b"no image", PHOTOS[0].read_bytes()[:100]):
        with pytest.raises(BadImage):
            perceptual_hash(body, PIXELS)
        assert taken(body, PIXELS) == Taken()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_time_and_place_are_those_of_the_exif_data(form: str) -> None:
    assert taken(with_exif({}, {}, form), PIXELS) == Taken()
    found = taken(with_exif({36867: "2026:07:01 12:30:59", 36868: "2000:01:01 00:00:00"}, GPS, form), PIXELS)
    assert found == Taken("2026-07-01T12:30:59", (-33.856389, 151.215))
    assert taken(with_exif({36868: "2000:01:01 00:00:00\0"}, {}, form), PIXELS) == Taken("2000-01-01T00:00:00")


@pytest.mark.parametrize(
    ("time", "gps"),
    [
        ("2026:13:01 12:30:59", {}),
        ("0000:00:00 00:00:00", {}),
        ("   ", {2: (95.0, 0.0, 0.0)}),
        ("yesterday", {1: "Q"}),
        ("", {4: (1.0, 2.0)}),
    ],
)
def test_what_is_malformed_or_impossible_is_not_known(time: str, gps: dict[int, Any]) -> None:
    place = GPS | gps if gps else {}
    assert taken(with_exif({36867: time}, place), PIXELS) == Taken()


GPS = {1: "S", 2: (33.0, 51.0, 23.0), 3: "E", 4: (151.0, 12.0, 54.0)}


def with_exif(times: dict[int, str], gps: dict[int, Any], form: str = "JPEG") -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update(times)
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps)
    return encoded(Image.new("RGB", (8, 8)), form, exif=exif.tobytes())
