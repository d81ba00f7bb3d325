"""What strangers upload: opened safely, as the model wants it, in bounded memory."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import ExifTags, Image

from benchmarks import photos
from inference import images
from shoal.errors import BadImage
from tests.inference_fixtures import MAX_BYTES, MAX_PIXELS, PHOTOS, ROOT, cat, encoded

SIDE = 224
LIST = "JPEG, PNG, GIF, WebP, BMP, TIFF, HEIC, AVIF"
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
BAD = {name: body for name, body in photos.bad_files().items() if name.startswith("bad_")}
ODD = {name: body for name, body in photos.bad_files().items() if name.startswith("odd_")}


def square(payload: bytes) -> np.ndarray:
    return images.open_square(payload, SIDE, MAX_PIXELS).pixels


def difference(one: np.ndarray, other: np.ndarray) -> float:
    """Mean over all values of how far two pictures are apart, of 255."""
    return float(np.abs(one.astype(int) - other.astype(int)).mean())


def plain(colour: object, mode: str = "RGB", size: tuple[int, int] = (300, 200)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FORMATS)
def test_inspect_tells_format_and_size_and_leaves_the_file_at_its_start(kind: str) -> None:
    payload = encoded(cat(), kind)
    file = io.BytesIO(payload)
    file.seek(7)

    info = images.inspect(file, MAX_BYTES, MAX_PIXELS)

    assert info == images.ImageInfo(kind, 451, 300, len(payload))
    assert file.tell() == 0
    assert file.read() == payload


def test_inspect_reads_heic() -> None:
    info = images.inspect(io.BytesIO(ODD["odd_heic.heic"]), MAX_BYTES, MAX_PIXELS)

    assert (info.format, info.width, info.height) == ("HEIF", 192, 192)


def test_inspect_reads_the_header_alone() -> None:
    payload = encoded(cat(), "JPEG")[:1000]

    assert images.inspect(io.BytesIO(payload), MAX_BYTES, MAX_PIXELS).width == 451


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"", "the file is empty"),
        (bytes(int(31.2 * 1024 * 1024)), "the file has 31.2 MB; at most 20 MB are accepted"),
        (photos.bomb(12_000, 9_000), "the photo has 108 megapixels; at most 50 are accepted"),
        (photos.bomb(7_100, 7_100), "the photo has 50.4 megapixels; at most 50 are accepted"),
        (photos.bomb(20_000, 20_000), "the photo has 400 megapixels; at most 50 are accepted"),
        (BAD["bad_text.jpg"], f"this is not an image that Shoal can read ({LIST})"),
        (BAD["bad_postscript.eps"], f"a PostScript file is not read here; Shoal reads {LIST}"),
    ],
)
def test_inspect_says_to_the_sender_what_is_wrong(payload: bytes, message: str) -> None:
    with pytest.raises(BadImage) as raised:
        images.inspect(io.BytesIO(payload), MAX_BYTES, MAX_PIXELS)

    assert str(raised.value) == message


@pytest.mark.parametrize("name", [name for name in BAD if name != "bad_empty.jpg"])
def test_a_bad_file_is_a_bad_image(name: str) -> None:
    with pytest.raises(BadImage):
        square(BAD[name])
    with pytest.raises(BadImage):
        images.thumbnail(BAD[name], 200, MAX_PIXELS)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_is_an_image_like_any_other(name: str) -> None:
    assert square(ODD[name]).shape == (SIDE, SIDE, 3)
    with Image.open(io.BytesIO(images.thumbnail(ODD[name], 200, MAX_PIXELS))) as small:
        assert small.format == "JPEG"
        assert max(small.size) <= 200


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (300, 300), (1000, 240), (100, 60)])
def test_it_is_the_short_side_to_256_and_the_centre_224(size: tuple[int, int]) -> None:
    photo = cat().resize(size)
    scale = 256 / min(size)
    resized = photo.resize((round(size[0] * scale), round(size[1] * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - SIDE) // 2, (resized.height - SIDE) // 2
    expected = np.asarray(resized.crop((left, top, left + SIDE, top + SIDE)))

    # Half a pixel of rounding and two resizes instead of one, no more.
    assert difference(square(encoded(photo, "PNG")), expected) < 4


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_photo_is_turned_upright(orientation: int, kind: str) -> None:
    back = {2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}.get(orientation)
    method = images._UPRIGHT.get(back or 1)
    stored = cat() if method is None else cat().transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    every: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}

    payload = encoded(stored, kind, exif=exif, **every.get(kind, {}))

    assert difference(square(payload), square(encoded(cat(), "PNG"))) < (4 if kind == "JPEG" else 1)
    with Image.open(io.BytesIO(images.thumbnail(payload, 100, MAX_PIXELS))) as small:
        assert small.size in ((100, 67), (100, 66))  # libjpeg rounds by itself


def test_damaged_exif_data_do_not_matter() -> None:
    payload = encoded(cat(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(range(200)))

    assert square(payload).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_clipped(kind: str) -> None:
    grey = np.asarray(cat().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)

    assert difference(square(encoded(deep, kind)), square(encoded(cat().convert("L"), "PNG"))) < 1


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_numbers_without_a_white_of_their_own_are_stretched(kind: type) -> None:
    ramp: np.ndarray = np.tile(np.linspace(-3000, 70_000, 300).astype(kind), (300, 1))

    seen = square(encoded(Image.fromarray(ramp), "TIFF"))

    assert seen[0, 0, 0] < 20
    assert seen[0, -1, 0] > 235


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (plain((10, 20, 30, 0), "RGBA"), (255, 255, 255)),
        (plain((10, 20, 30, 255), "RGBA"), (10, 20, 30)),
        (plain((0, 0, 0, 128), "RGBA"), (127, 127, 127)),
        (plain((10, 0), "LA"), (255, 255, 255)),
        (plain(77, "L"), (77, 77, 77)),
        (plain((10, 200, 30)).convert("P", palette=Image.Palette.ADAPTIVE), (10, 200, 30)),
        (plain(1, "1"), (255, 255, 255)),
    ],
    ids=["clear", "opaque", "half", "clear grey", "grey", "palette", "1 bit"],
)
def test_every_mode_becomes_rgb_on_white(image: Image.Image, expected: tuple[int, int, int]) -> None:
    seen = square(encoded(image, "PNG"))

    assert (np.abs(seen.astype(int) - expected) <= 1).all()


def test_a_colour_that_stands_for_transparent_becomes_white() -> None:
    for image in (plain((0, 0, 255)), plain((0, 0, 255)).convert("P", palette=Image.Palette.ADAPTIVE)):
        colour = 0 if image.mode == "P" else (0, 0, 255)
        seen = square(encoded(image, "PNG", transparency=colour))
        assert (seen == 255).all(), image.mode


def test_fine_1_bit_patterns_are_averaged() -> None:
    dots = Image.fromarray((np.indices((800, 800)).sum(axis=0) % 2 * 255).astype(np.uint8)).convert("1")

    assert abs(float(square(encoded(dots, "PNG")).mean()) - 127) < 3


def test_cmyk_keeps_its_colours() -> None:
    assert difference(square(ODD["odd_cmyk.jpg"]), square(encoded(cat(), "PNG"))) < 12


def test_of_an_animation_the_first_frame_counts() -> None:
    first, second = plain((255, 0, 0)), plain((0, 0, 255))
    for kind in ("GIF", "WEBP", "PNG", "TIFF"):
        seen = square(encoded(first, kind, save_all=True, append_images=[second]))
        assert seen[..., 0].min() > 240, kind
        assert seen[..., 2].max() < 15, kind


def test_heic_is_the_photo_it_was_made_from() -> None:
    height = cat().height
    left = (cat().width - height) // 2
    photo = cat().crop((left, 0, left + height, height)).resize((192, 192))

    assert difference(square(ODD["odd_heic.heic"]), square(encoded(photo, "PNG"))) < 8


def test_a_warning_of_the_decoder_is_no_reason_to_refuse() -> None:
    payload = photos.bomb(10_000, 9_500)  # Pillow warns from 89 megapixels on

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        info = images.inspect(io.BytesIO(payload), MAX_BYTES, 100_000_000)

    assert info.width == 10_000


def test_large_jpegs_are_decoded_small_and_look_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in PHOTOS:
        with Image.open(path) as photo:
            payload = encoded(photo.resize((photo.width * 4, photo.height * 4), Image.Resampling.LANCZOS), "JPEG")
        small = square(payload)
        with monkeypatch.context() as patch:
            patch.setattr(images, "DRAFT", 1000)
            assert difference(small, square(payload)) < 1, path.name


def test_a_thumbnail_shows_the_whole_picture() -> None:
    halves = plain("red", size=(400, 100))
    halves.paste("blue", (200, 0, 400, 100))

    with Image.open(io.BytesIO(images.thumbnail(encoded(halves, "PNG"), 120, MAX_PIXELS))) as small:
        assert small.size == (120, 30)
        assert small.getpixel((10, 15))[0] > 240  # type: ignore[index]
        assert small.getpixel((110, 15))[2] > 240  # type: ignore[index]


def test_a_small_picture_is_not_blown_up() -> None:
    with Image.open(
        io.BytesIO(images.thumbnail(encoded(plain("red", size=(40, 20)), "PNG"), 120, MAX_PIXELS))
    ) as small:
        assert small.size == (40, 20)


# Not getrusage: its maximum outlives exec, and would be this test run's own.
_MEASURE = """
import pathlib, re, sys
from inference import images
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text()).group(1)) // 1024
payload = pathlib.Path(sys.argv[1]).read_bytes()
images.open_square(pathlib.Path(sys.argv[2]).read_bytes(), 224, 50_000_000)
before = peak()
images.open_square(payload, 224, 50_000_000)
images.thumbnail(payload, 300, 50_000_000)
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("size", "mode", "kind", "limit"),
    [
        ((8_000, 6_200), "RGB", "JPEG", 60),  # drafted: a row of blocks at a time
        ((8_000, 6_200), "RGB", "PNG", 300),  # 4 bytes a pixel
        ((8_000, 6_200), "I;16", "PNG", 600),  # 2 bytes a pixel, and 4 in between
        ((8_000, 6_200), "1", "PNG", 300),
        ((40_000, 1), "RGB", "PNG", 20),  # "short side to 256" first would be 7.8 GB
        ((40_000, 1), "RGB", "JPEG", 20),
    ],
)
def test_memory_stays_bounded(size: tuple[int, int], mode: str, kind: str, limit: int, tmp_path: Path) -> None:
    large, small = tmp_path / "large", tmp_path / "small"
    large.write_bytes(encoded(Image.new(mode, size, 1), kind))
    small.write_bytes(encoded(Image.new(mode, (300, 300), 1), kind))

    command = [sys.executable, "-c", _MEASURE, str(large), str(small)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    print(f"{kind} {mode} {size}: {done.stdout.strip()} MB more")
    assert int(done.stdout) < limit


_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "TIFF": ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "1"),
    "BMP": ("1", "L", "P", "RGB"),
}
_FILES = [(kind, mode) for kind, modes in _MODES.items() for mode in modes]


@given(
    file=some.sampled_from(_FILES), width=some.integers(1, 700), height=some.integers(1, 700), seed=some.integers(0, 99)
)
def test_every_size_and_mode_becomes_a_square(file: tuple[str, str], width: int, height: int, seed: int) -> None:
    kind, mode = file
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    grey = Image.fromarray(noise).convert("L")
    image = Image.fromarray(noise).convert(mode) if mode not in ("I;16", "F") else grey.convert("I").convert(mode)

    seen = square(encoded(image, kind))

    assert seen.shape == (SIDE, SIDE, 3)
    assert seen.dtype == np.uint8
    with Image.open(io.BytesIO(images.thumbnail(encoded(image, kind), 64, MAX_PIXELS))) as small:
        assert max(small.size) <= 64


@given(junk=some.binary(min_size=1, max_size=2000))
def test_random_bytes_are_a_bad_image(junk: bytes) -> None:
    with pytest.raises(BadImage):
        square(junk)


@given(
    name=some.sampled_from([name for name in ODD if len(ODD[name]) < 130_000]),
    changes=some.lists(
        some.tuples(some.floats(0, 1, exclude_max=True), some.integers(0, 255)), min_size=1, max_size=20
    ),
    kept=some.floats(0.1, 1),
)
def test_damaged_files_are_an_image_or_a_bad_image(name: str, changes: list[tuple[float, int]], kept: float) -> None:
    payload = bytearray(ODD[name])
    for place, value in changes:
        # Half of the changes in the header, where they do most.
        payload[int(place * min(len(payload), 400 if value % 2 else len(payload)))] = value
    body = bytes(payload[: max(1, int(kept * len(payload)))])

    with contextlib.suppress(BadImage):
        assert images.open_square(body, SIDE, 2_000_000).pixels.shape == (SIDE, SIDE, 3)


def test_a_thumbnail_has_nothing_of_the_photo_but_its_pixels() -> None:
    secret = b"home address"
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = secret.decode()
    for kind in ("JPEG", "PNG", "WEBP"):
        out = io.BytesIO()
        told: dict[str, Any] = {"exif": exif, "icc_profile": secret, "xmp": secret}
        plain("red", size=(40, 20)).save(out, kind, **told | ({"comment": secret} if kind == "JPEG" else {}))
        assert secret in out.getvalue()
        small = images.thumbnail(out.getvalue(), 20, MAX_PIXELS)
        assert secret not in small
        assert not {b"Exif", b"ICC_PROFILE", b"http://ns.adobe.com"} & set(small.split(b"\x00"))
