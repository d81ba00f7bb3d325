"""The list of formats that are read, and what is said of the others."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from inference import images
from inference.decoding import camera_raw, levels, photo_formats
from shoal.errors import BadImage
from shoal_cli._batches._chosen_photos import chosen_photos
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, cat, encoded
from tests.test_inference_levels import with_tag


def square(payload: bytes) -> np.ndarray:
    return images.open_square(payload, 224, MAX_PIXELS).pixels


def with_brands(payload: bytes, major: bytes) -> bytes:
    """The file with another major brand; the others stay."""
    return payload[:8] + major + payload[12:]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "AVIF"])
@pytest.mark.parametrize("frames", [1, 2])
def test_of_an_animation_the_first_picture_is_labelled_and_that_is_said(kind: str, frames: int) -> None:
    more = [Image.new("RGB", cat().size)] * (frames - 1)
    payload = encoded(cat(), kind, save_all=True, append_images=more, quality=90)

    opened = images.open_square(payload, 224, MAX_PIXELS)

    assert opened.warnings == ((levels.PAGES,) if frames > 1 else ())
    difference = np.abs(opened.pixels.astype(int) - square(encoded(cat(), "PNG")).astype(int)).mean()
    assert difference < 4


@pytest.mark.parametrize("major", [b"avif", b"mif1"])
def test_avif_is_read(major: bytes) -> None:
    payload = with_brands(encoded(cat(), "AVIF", quality=90), major)

    assert images.inspect(io.BytesIO(payload), MAX_BYTES, MAX_PIXELS).format == "AVIF"
    difference = np.abs(square(payload).astype(int) - square(encoded(cat(), "PNG")).astype(int)).mean()
    assert difference < 4
    assert images.thumbnail(payload, 100, MAX_PIXELS)


def test_a_large_avif_is_refused_by_its_header() -> None:
    with pytest.raises(BadImage, match=r"at most 0\.1 are accepted"):
        images.inspect(io.BytesIO(encoded(cat(), "AVIF")), MAX_BYTES, 100_000)


@pytest.mark.parametrize("kept", [0.5, 0.1])
def test_a_cut_avif_is_damaged(kept: float) -> None:
    payload = encoded(cat(), "AVIF")

    with pytest.raises(BadImage, match="damaged"):
        square(payload[: int(len(payload) * kept)])


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"8BPS", "a Photoshop file"),
        (b"%PDF-1.4", "a PDF file"),
        (b"<svg", "SVG"),
        (b"\0\0\1\0", "an icon file"),
        (b"\0\0\0\x18ftypcrx ", "a camera's RAW file"),
        (b"\0\0\0\x18ftypmp42", "a video"),
        (b"RIFF\0\0\1\0AVI LIST", "a video"),
        (b"\0\0\2\0\1\0", "an icon file"),
        (b"\0\0\2\0\0\0\0\0", "TGA"),
        (b"IIRO\x08\0\0\0", "a camera's RAW file"),
        (b"II\xbc\1\x08\0\0\0", "JPEG XR"),
        (b"PK\3\4", "an archive"),
        (bytes(128) + b"DICM", "DICOM"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:", "a pointer of Git LFS"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns=", "SVG"),
        (b"\r\n<!DOCTYPE html><title>Not found", "a web page"),
    ],
)
def test_what_is_not_read_is_named(start: bytes, name: str) -> None:
    with pytest.raises(BadImage, match=f"{name} is not read here; Shoal reads JPEG, PNG"):
        square(start + bytes(300))


def test_a_folder_is_sent_by_the_same_list(tmp_path: Path) -> None:
    for name in ("a.JPE", "b.jfif", "c.avif", "d.HIF", "e.txt"):
        (tmp_path / name).write_bytes(b"x")

    photos, _ = chosen_photos([tmp_path])
    assert [path.name for path in photos] == ["a.JPE", "b.jfif", "c.avif", "d.HIF"]


def test_the_picker_offers_the_list() -> None:
    assert set(photo_formats.ACCEPT.split(",")) == {"image/*"} | photo_formats.SUFFIXES


def raw(payload: bytes) -> bytes:
    """A TIFF of Pillow's with the tags of a DNG; its pixels are the preview."""
    with Image.open(io.BytesIO(payload)) as image:
        directory = TiffImagePlugin.ImageFileDirectory_v2()
        directory[254] = 1
        directory[271] = "Maker"
        directory[50706] = b"\1\4\0\0"
        directory.tagtype[50706] = 1
        return encoded(image, "TIFF", tiffinfo=directory)


def test_of_a_raw_file_the_preview_is_labelled_and_that_is_said() -> None:
    opened = images.open_square(raw(encoded(cat(), "TIFF")), 224, MAX_PIXELS)

    assert opened.warnings == (camera_raw.PREVIEW,)
    assert (opened.pixels == square(encoded(cat(), "PNG"))).all()


def test_a_raw_file_without_a_preview_is_named() -> None:
    sensor = with_tag(raw(encoded(cat().convert("L"), "TIFF")), 262, 32_803)  # colours of a sensor's filter
    for payload in (sensor, b"II*\0\x10\0\0\0CR\2\0" + bytes(300)):
        with pytest.raises(BadImage, match="a camera's RAW file is not read here; Shoal reads JPEG"):
            square(payload)
