"""Where a photo was taken, with which camera and by whom is taken out of it; its picture stays the same."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pi_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms, TiffImagePlugin
from PIL.TiffImagePlugin import IFDRational

from inference import images, private_data
from inference.decoding.photo_formats import SUFFIXES_BY_FORMAT
from shoal.errors import BadImage
from tests.inference_fixtures import MAX_PIXELS, cat, encoded

OWNER, SERIAL, NOTES, PLACE = b"Ada Lovelace", b"SERIAL-4711", b"NOTES-OF-THE-MAKER", b"Lovelace Road 1815"
LATITUDE = 51_234_567
SIDEWAYS = 6
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6" exif:GPSLatitude="51,14.07N" '
    b'aux:SerialNumber="SERIAL-4711" dc:creator="Ada Lovelace"/></x:xmpmeta>'
)
SECRETS = (
    OWNER, SERIAL, NOTES, PLACE, struct.pack("<I", LATITUDE), struct.pack(">I", LATITUDE), b"GPSLatitude",
)  # fmt: skip
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def told(orientation: int = SIDEWAYS) -> Image.Exif:
    """EXIF data that tell everything."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F], exif[0x0110] = "Shoal Cameras", "Model 1"
    exif[0x013B] = exif[0x8298] = OWNER.decode()
    inner = exif.get_ifd(0x8769)
    inner[0xA430], inner[0xA431], inner[0xA435], inner[0x927C] = OWNER, SERIAL, SERIAL, NOTES * 40
    place = exif.get_ifd(0x8825)
    place[1], place[2] = "N", (IFDRational(51), IFDRational(14), IFDRational(LATITUDE, 1_000_000))
    return exif


def jpeg_with(segments: bytes, photo: bytes) -> bytes:
    return photo[:2] + segments + photo[2:]


def segment(code: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(body) + 2) + body


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def full_jpeg(**options: object) -> bytes:
    plain = encoded(cat(), "JPEG", exif=told(), icc_profile=PROFILE, comment=PLACE, **options)
    more = segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP) + segment(0xED, b"Photoshop 3.0\0008BIM" + PLACE)
    return jpeg_with(more + segment(0xE5, b"Samsung" + SERIAL), plain)


def full_png() -> bytes:
    plain = encoded(cat(), "PNG", exif=told(), icc_profile=PROFILE)
    more = chunk(b"tEXt", b"Author\0" + OWNER) + chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    return plain[:33] + more + plain[33:] + b"behind the end: " + OWNER


def full_tiff(**options: object) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[270], info[315], info[700] = PLACE.decode(), OWNER.decode(), XMP
    if not options.get("compression"):  # libtiff writes no others
        info[33723], info[50735] = PLACE, SERIAL
    exif = told()
    for tag, value in info.items():
        exif[tag] = value
    return encoded(cat(), "TIFF", exif=exif, icc_profile=PROFILE, **options)


def full_gif() -> bytes:
    plain = encoded(cat(), "GIF", comment=OWNER, save_all=True, append_images=[cat().rotate(90)], loop=3)
    xmp = b"\x21\xff\x0bXMP DataXMP" + b"".join(
        bytes([len(part)]) + part for part in (XMP[at : at + 255] for at in range(0, len(XMP), 255))
    )
    start = 13 + (3 << ((plain[10] & 7) + 1) if plain[10] & 0x80 else 0)
    return plain[:start] + xmp + b"\0" + plain[start:]


FULL = {
    "JPEG": full_jpeg(),
    "progressive JPEG": full_jpeg(progressive=True),
    "PNG": full_png(),
    "WebP": encoded(cat(), "WEBP", exif=told(), xmp=XMP, icc_profile=PROFILE),
    "lossless WebP": encoded(cat(), "WEBP", exif=told(), xmp=XMP, lossless=True),
    "GIF": full_gif(),
    "TIFF": full_tiff(),
    "packed TIFF": full_tiff(compression="tiff_lzw"),
    "large TIFF": full_tiff(big_tiff=True),
    "AVIF": encoded(cat(), "AVIF", exif=told(), xmp=XMP, icc_profile=PROFILE, speed=10),
}


def pixels(payload: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(payload)) as photo:
        return np.asarray(photo)


def upright(payload: bytes) -> np.ndarray:
    return images.open_whole(payload, 10_000, MAX_PIXELS).pixels


@pytest.mark.parametrize("kind", FULL)
def test_nothing_of_the_sender_stays_and_the_picture_is_the_same(kind: str) -> None:
    photo = FULL[kind]
    assert any(secret in photo for secret in SECRETS)

    kept = private_data.removed(photo)

    assert [secret for secret in SECRETS if secret in kept] == []
    assert (pixels(kept) == pixels(photo)).all()
    assert (upright(kept) == upright(photo)).all()  # turned as before
    with Image.open(io.BytesIO(kept)) as after, Image.open(io.BytesIO(photo)) as before:
        assert after.info.get("icc_profile") == before.info.get("icc_profile")
        assert not after.getexif().get_ifd(0x8825)
        assert getattr(after, "n_frames", 1) == getattr(before, "n_frames", 1)
        assert after.info.get("loop") == before.info.get("loop")
    assert private_data.removed(kept) is kept or private_data.removed(kept) == kept


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "AVIF", "BMP"])
def test_a_photo_that_tells_nothing_is_not_copied(kind: str) -> None:
    photo = encoded(cat(), kind)

    assert private_data.removed(photo) is photo


def test_every_format_is_tried() -> None:
    tried = {kind.split()[-1] for kind in FULL} | {"BMP", "HEIC"}  # a BMP has no place for such data; HEIC below

    assert tried == set(SUFFIXES_BY_FORMAT)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stays_turned_as_its_xmp_data_say(orientation: int) -> None:
    xmp = XMP.replace(b'"6"', b'"%d"' % orientation)
    photo = jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp), encoded(cat(), "JPEG"))

    assert (upright(private_data.removed(photo)) == upright(photo)).all()


def test_a_film_and_further_pictures_behind_a_jpeg_go() -> None:
    behind = encoded(cat().rotate(90), "JPEG", exif=told()) + b"\0\0\0\x18ftypmp42" + OWNER
    for photo in (full_jpeg(), full_jpeg(progressive=True), encoded(cat(), "JPEG")):
        assert private_data.removed(photo + behind) == private_data.removed(photo)


def test_behind_a_large_jpeg_goes_what_its_index_names() -> None:
    noise = Image.effect_noise((900, 900), 90).convert("RGB")
    photo = encoded(noise, "MPO", save_all=True, append_images=[noise.rotate(90)], quality=95, exif=told())
    assert len(photo) > 1_000_000

    kept = private_data.removed(photo)

    assert len(kept) < len(photo) * 0.6
    assert (pixels(kept) == pixels(photo)).all()


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def test_the_items_of_a_heic_photo_are_overwritten() -> None:
    items = {1: (b"Exif", b"\0\0\0\0" + told().tobytes()[6:]), 2: (b"mime", XMP), 3: (b"hvc1", b"PIXELS" * 20)}
    names = b"".join(
        _box(b"infe", b"\2\0\0\0" + struct.pack(">HH", item, 0) + kind + b"\0") for item, (kind, _) in items.items()
    )
    index = _box(b"iinf", b"\0\0\0\0" + struct.pack(">H", len(items)) + names)
    head = _box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def file(start: int) -> bytes:
        places, at = b"", start
        for item, (_, body) in items.items():
            places += struct.pack(">HHHHII", item, 0, 0, 1, at, len(body))
            at += len(body)
        iloc = _box(b"iloc", b"\1\0\0\0\x44\0" + struct.pack(">H", len(items)) + places)
        meta = _box(b"meta", b"\0\0\0\0" + index + iloc)
        return head + meta + _box(b"mdat", b"".join(body for _, body in items.values())) + _box(b"uuid", OWNER * 3)

    photo = file(file(0).index(items[1][1][:30]))

    kept = private_data.removed(photo)

    assert [secret for secret in SECRETS if secret in kept] == []
    assert len(kept) == len(photo)
    assert b"PIXELS" * 20 in kept


def test_a_real_heic_photo_keeps_its_pixels() -> None:
    photo = (Path(__file__).parent.parent / "benchmarks" / "cat.heic").read_bytes()
    kept = private_data.removed(photo)

    before, after = (pi_heif.open_heif(io.BytesIO(one)) for one in (photo, kept))
    assert bytes(before.data) == bytes(after.data)


@pytest.mark.parametrize("kind", FULL)
def test_cut_and_damaged_photos_break_nothing(kind: str) -> None:
    photo, dice = FULL[kind], random.Random(kind)
    for _ in range(60):
        cut = photo[: dice.randrange(12, len(photo))]
        damaged = bytearray(photo)
        for _ in range(8):
            damaged[dice.randrange(min(len(photo), 3_000))] = dice.randrange(256)
        for one in (cut, bytes(damaged)):
            with contextlib.suppress(BadImage):
                private_data.removed(one)


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "progressive JPEG", "PNG", "WebP", "GIF"])
def test_a_cut_photo_is_labelled_as_it_would_be_with_its_data(kind: str, share: float) -> None:
    photo = private_data.removed(FULL[kind])
    cut = FULL[kind][: len(FULL[kind]) - round(len(photo) * (1 - share))]

    try:
        expected = images.open_square(cut, 64, MAX_PIXELS)
    except BadImage as error:
        with pytest.raises(BadImage, match=str(error)):
            images.open_square(private_data.removed(cut), 64, MAX_PIXELS)
        return
    found = images.open_square(private_data.removed(cut), 64, MAX_PIXELS)
    assert (found.pixels == expected.pixels).all()
    assert bool(found.warnings) == bool(expected.warnings)


@given(st.sampled_from([photo[:12] for photo in FULL.values()]), st.binary(max_size=400))
def test_whatever_the_bytes_are_nothing_else_is_raised(head: bytes, rest: bytes) -> None:
    with contextlib.suppress(BadImage):
        private_data.removed(head + rest)


@pytest.mark.parametrize("entry", [(34_665, 4, 1, 8), (330, 4, 1, 8), (700, 1, 4_000_000, 8), (34_853, 1, 9_999, 8)])
def test_directories_that_name_the_same_again_and_again_are_refused(entry: tuple[int, ...]) -> None:
    entries = struct.pack("<HHII", *entry) * 65_535

    with pytest.raises(BadImage):
        private_data.removed(b"II*\0\x08\0\0\0" + struct.pack("<H", 65_535) + entries + bytes(4_000_000))


def test_parts_of_a_heic_photo_without_end_are_refused() -> None:
    infe = _box(b"infe", b"\2\0\0\0\0\1\0\0Exif\0")
    parts = struct.pack(">HHHH", 1, 0, 0, 65_535) + struct.pack(">II", 8, 900_000) * 65_535
    index = _box(b"iinf", b"\0\0\0\0\0\1" + infe) + _box(b"iloc", b"\1\0\0\0\x44\0\0\1" + parts)

    with pytest.raises(BadImage):
        private_data.removed(_box(b"ftyp", b"heic\0\0\0\0heic") + _box(b"meta", b"\0\0\0\0" + index) + bytes(900_000))


def test_wide_boxes_in_one_another_are_counted_together() -> None:
    """Each level held as many as one may: 20 MB of them took 1.8 s."""
    film = _box(b"moov", _box(b"trak", _box(b"mdia", b"") * 200) * 200)

    for photo in (film, _box(b"free", b"") * 11_000):
        with pytest.raises(BadImage, match="more parts"):
            private_data.removed(_box(b"ftyp", b"avif\0\0\0\0avif") + photo)


def test_random_bytes_behind_the_head_of_a_tiff_end() -> None:
    dice = random.Random(1)
    for _ in range(100):
        with contextlib.suppress(BadImage):
            private_data.removed(b"II*\0" + dice.randbytes(20_000))


def test_a_png_with_thousands_of_packed_texts_takes_neither_time_nor_memory() -> None:
    """Each text unpacks to a megabyte of lines; 200 of them took a minute, and one of 50 MB took 4 GB."""
    packed = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 2**20, 9))
    lines = chunk(b"tEXt", b"Raw profile type exif\0" + b"\n" * 4_000_000)
    plain = encoded(cat(), "PNG")
    photo = plain[:-12] + packed * 2_000 + lines + plain[-12:]

    tracemalloc.start()
    kept = private_data.removed(photo)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert kept == plain
    assert peak < 20e6


def test_a_part_that_cannot_be_read_keeps_no_other_part_in_the_photo() -> None:
    png = encoded(cat(), "PNG")
    no_digits = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 3\nxyz\n")
    tiff = bytearray(full_tiff())
    (start,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, start)
    struct.pack_into("<I", tiff, start + 2 + 12 * entries, len(tiff) - 1)  # the next directory is behind the end
    gif = encoded(cat(), "GIF", comment=PLACE)

    for photo in (
        png[:-12] + no_digits + chunk(b"tEXt", b"Author\0" + OWNER) + png[-12:],
        bytes(tiff),
        gif[:-1] + b",",
    ):
        kept = private_data.removed(photo)
        assert not [secret for secret in SECRETS if secret in kept]
        assert sorted(Image.open(io.BytesIO(kept)).size) == sorted(cat().size)  # a TIFF stands on its side


@pytest.mark.parametrize(
    "photo",
    [
        encoded(Image.new("RGB", (8, 8)), "GIF")[:-1] + b"\x21\xfe\0" * 300_000 + b";",
        encoded(Image.new("RGB", (8, 8)), "JPEG")[:-2] + b"\xff\x01" * 300_000,
    ],
)
def test_more_parts_than_any_program_writes_are_refused(photo: bytes) -> None:
    with pytest.raises(BadImage):
        private_data.removed(photo)


def test_boxes_of_a_film_in_one_another_are_followed_to_an_end() -> None:
    depth = 3_000
    nest = b"".join(struct.pack(">I4s", 8 * (depth - level), b"trak") for level in range(depth))
    photo = _box(b"ftyp", b"heic\0\0\0\0heic") + _box(b"moov", nest)

    assert private_data.removed(photo) == photo
