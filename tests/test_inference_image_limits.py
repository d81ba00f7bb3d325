"""Files that are small and would be slow or large to decode: answered soon, in little memory."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference import image_limits, images
from shoal.errors import BadImage
from tests import hostile_images
from tests.inference_fixtures import MAX_PIXELS, ROOT, cat, encoded

# Only the first frame is read, or no EXIF data at all.
GOOD = {"10,000 frames of GIF", "10,000 frames of WebP", "a cyclic TIFF", "a TIFF with 90 scans", "a greedy PNG"}
GOOD.add("a baseline JPEG of 200 megapixels")

_TRY = """
import io, json, pathlib, re, sys, time
from inference import images
from shoal.errors import BadImage
from PIL import Image
Image.init()
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1)) // 1024
payload = pathlib.Path(sys.argv[1]).read_bytes()
before, start, said = peak(), time.monotonic(), []
for call in (
    lambda: images.inspect(io.BytesIO(payload), 20_000_000, 50_000_000),
    lambda: images.open_square(payload, 224, 50_000_000),
    lambda: images.thumbnail(payload, 240, 50_000_000),
):
    try:
        call()
    except BadImage as error:
        said.append(str(error))
print(json.dumps([time.monotonic() - start, peak() - before, said]))
"""


@pytest.fixture(scope="module")
def hostile() -> dict[str, bytes]:
    return hostile_images.files()


NAMES = (
    "4,000 scans",
    "30 scans of 48 megapixels",
    "a million segments",
    "10 million bytes of padding",
    "10 million bytes of junk",
    "a million chunks",
    "1 x 50 million",
    "10,000 frames of GIF",
    "10,000 frames of WebP",
    "a GIF's comment in a million blocks",
    "a cyclic TIFF",
    "a greedy TIFF",
    "a TIFF with 90 scans",
    "greedy EXIF data",
    "a baseline JPEG of 200 megapixels",
    "a greedy PNG",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_image_is_answered_soon_and_in_little_memory(
    name: str, hostile: dict[str, bytes], tmp_path: Path
) -> None:
    (tmp_path / "photo").write_bytes(hostile[name])
    command = [sys.executable, "-c", _TRY, str(tmp_path / "photo")]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)

    seconds, megabytes, said = json.loads(done.stdout)
    print(f"{name}: {len(hostile[name]):,} bytes, {seconds:.2f} s, {megabytes} MB, {said}")
    assert seconds < 10
    assert megabytes < 200
    assert bool(said) == (name not in GOOD)


def test_every_hostile_image_is_tried(hostile: dict[str, bytes]) -> None:
    assert set(NAMES) == set(hostile)


def test_the_answer_names_the_limit() -> None:
    payload = hostile_images.many_scans(hostile_images.noise(64, 48), 200)

    with pytest.raises(BadImage, match="the JPEG has more than 100 scans"):
        images.open_square(payload, 224, MAX_PIXELS)


def test_scans_within_the_limit_are_decoded() -> None:
    payload = hostile_images.many_scans(cat(), 90 - 10)

    assert images.open_square(payload, 224, MAX_PIXELS).pixels.shape == (224, 224, 3)


def test_what_follows_the_end_of_a_jpeg_is_not_counted() -> None:
    payload = encoded(cat(), "JPEG") + b"\xff\xda" * 5_000  # phones append a video, or a second picture

    assert images.open_square(payload, 224, MAX_PIXELS).size == (451, 300)


def test_markers_inside_a_segment_are_not_counted() -> None:
    payload = encoded(cat(), "JPEG", comment=b"\xff\xda" * 5_000)

    assert images.open_square(payload, 224, MAX_PIXELS).size == (451, 300)


def test_a_jpeg_inside_a_tiff_has_at_most_100_scans() -> None:
    assert images.open_square(hostile_images.tiff_of_jpeg(640, 480, 10), 224, MAX_PIXELS).size == (640, 480)
    with pytest.raises(BadImage):
        images.open_square(hostile_images.tiff_of_jpeg(640, 480, 110), 224, MAX_PIXELS)


@pytest.mark.parametrize("size", [(14_128, 14_128), (65_488, 1_040), (1_040, 65_488)])
def test_a_baseline_jpeg_may_have_200_megapixels(size: tuple[int, int]) -> None:
    payload = hostile_images.baseline(*size)

    assert images.inspect(io.BytesIO(payload), len(payload), MAX_PIXELS).width == size[0]
    opened = images.open_square(payload, 224, MAX_PIXELS)
    assert (opened.size, opened.warnings) == (size, ())
    assert np.unique(opened.pixels).tolist() == [128]


def test_a_baseline_jpeg_of_many_megapixels_may_be_cut_short() -> None:
    payload = hostile_images.baseline(8_000, 8_000)

    [warning] = images.open_square(payload[: len(payload) * 3 // 4], 224, MAX_PIXELS).warnings
    assert "of the picture is missing" in warning


def test_other_jpegs_of_many_megapixels_are_refused() -> None:
    payload = hostile_images.baseline(8_000, 8_000)
    frame, scan = payload.index(b"\xff\xc0"), payload.index(b"\xff\xda")
    progressive = payload[:frame] + b"\xff\xc2" + payload[frame + 2 :]
    three_scans = payload[: scan + 2] + b"\0\x08\1\1\0\0\x3f\0" + payload[scan + 14 :]

    for other in (progressive, three_scans, payload[:scan]):
        with pytest.raises(BadImage, match="has 64 megapixels; at most 50 are accepted"):
            images.inspect(io.BytesIO(other), len(other), MAX_PIXELS)
    with pytest.raises(BadImage, match="has 201 megapixels; at most 200 are accepted"):
        images.open_square(hostile_images.baseline(14_176, 14_176), 224, MAX_PIXELS)
    with pytest.raises(BadImage, match="65,520 pixels long; at most 65,500 are accepted"):
        images.open_square(hostile_images.baseline(65_520, 16), 224, MAX_PIXELS)


def test_the_longest_side_is_accepted() -> None:
    payload = hostile_images.thin(image_limits.SIDE)

    assert images.open_square(payload, 224, MAX_PIXELS).size == (1, image_limits.SIDE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_thumbnail_has_nothing_of_the_photo_but_its_pixels(kind: str) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret"
    secret = {"comment": b"a secret"} if kind in ("JPEG", "GIF") else {}
    secret |= {"xmp": b"a secret"} if kind in ("JPEG", "WEBP") else {}
    payload = encoded(cat(), kind, exif=exif, **secret)
    assert b"a secret" in payload

    assert b"secret" not in images.thumbnail(payload, 240, MAX_PIXELS)


@pytest.mark.parametrize("each", [3, 4])
def test_strips_that_are_all_the_same_data_are_refused(each: int) -> None:
    """Each is decoded by itself: 60,000 rows of 400 KB took 21 s, and a TIFF of floats would have taken hours."""
    strips, long = 60_000, 60_000
    lengths = struct.pack("<H" if each == 3 else "<I", long) * strips
    directory = struct.pack("<HHHII", 1, 279, each, strips, 26)

    with pytest.raises(BadImage, match="too often"):
        image_limits.check_directory(io.BytesIO(b"II*\0\x08\0\0\0" + directory + bytes(4) + lengths + bytes(long)))
