"""Real photos for tests and load, photos with known labels, and damaged or unusual files.

`inference.preparing.photos` fetches the photos.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path

from PIL import Image

from inference.preparing.photos import fetch

__all__ = ["bad_files", "bomb", "fetch", "in_bytes", "labelled", "mistaken", "rotated", "sixteen_bits"]

_WIDTH = 800
_HERE = Path(__file__).parent
EXAMPLES = _HERE.parent / "static" / "examples"

# ai-benchmark has no labels. These photos were labelled by hand, and none of those labelled was left out.
_SEEN = {
    1: "birdhouse",
    2: "African_elephant",
    3: "lesser_panda",
    4: "giant_panda",
    7: "library bookcase bookshop",
    9: "bow_tie",
    10: "bullet_train",
    11: "jay",
    13: "magpie",
    20: "dial_telephone",
    22: "European_fire_salamander",
    24: "espresso_maker",
    27: "fire_engine",
    28: "forklift",
    30: "fountain_pen",
    35: "golf_ball",
    36: "grand_piano",
    37: "green_mamba green_snake",
    38: "hourglass",
    41: "scorpion",
    46: "liner",
    53: "magnetic_compass",
    58: "microphone",
    60: "jellyfish",
    65: "Model_T",
    66: "mosque",
    67: "white_stork",
    69: "acoustic_guitar",
    75: "balloon",
    76: "killer_whale",
    82: "hen",
    83: "lynx",
    86: "brown_bear",
    92: "warthog",
    96: "otter",
    99: "binoculars",
}

# The hamburgers of Food-101 that ResNet50 labels correctly, 7 of 10. It labels 1061270 as a bagel, and 1636096 and
# 3385808 as a plate.
_HAMBURGERS = (1202261, 1381751, 139558, 2480925, 3289634, 3647386, 862025)


def labelled(cache_dir: Path) -> dict[Path, set[str]]:
    """{photo: its right labels}, with the bundled examples.

    ResNet50 labels all of them correctly. The photos that it labels wrongly are in `mistaken`.
    """
    photos = {path.relative_to(cache_dir / "photos").as_posix(): path for path in fetch(cache_dir)}
    known = {f"ai-benchmark/{number}.jpg": set(names.split()) for number, names in _SEEN.items()}
    known |= {
        f"clarifai/image_classification/food-101/images/hamburger/{number}.jpg": {"cheeseburger"}
        for number in _HAMBURGERS
    }
    found = {photos[name]: names for name, names in known.items()}
    examples = json.loads((EXAMPLES / "labels.json").read_text())
    return found | {EXAMPLES / name: {label} for name, label in examples.items()}


def mistaken(cache_dir: Path) -> dict[Path, set[str]]:
    """{photo: its right labels} of the photos that ResNet50 labels wrongly."""
    folder = cache_dir / "photos/clarifai/image_classification/food-101/images/hamburger"
    return {path: {"cheeseburger"} for path in folder.glob("*.jpg") if int(path.stem) not in _HAMBURGERS}


def bad_files() -> dict[str, bytes]:
    """{name: bytes} of bad and odd files. The names of files that cannot be labelled start with "bad_"."""
    photo = Image.open(EXAMPLES / "cat.jpg")
    photo.load()
    jpeg = _encoded(photo, "JPEG")
    transparent = photo.convert("RGBA")
    transparent.putalpha(photo.convert("L"))
    frames = [photo.convert("P"), photo.rotate(180).convert("P")]
    return {
        "bad_empty.jpg": b"",
        "bad_text.jpg": b"I am not an image, whatever my name says.\n" * 20,
        "bad_header_only.png": _encoded(photo, "PNG")[:40],
        "bad_bomb.png": bomb(20_000, 20_000),
        "bad_postscript.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n",
        "bad_vector.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>',
        "odd_wide.png": _encoded(Image.new("RGB", (20_000, 10), "teal"), "PNG"),
        "odd_tall.png": _encoded(Image.new("RGB", (1, 20_000), "teal"), "PNG"),
        "odd_one_pixel.png": _encoded(Image.new("RGB", (1, 1), "teal"), "PNG"),
        "odd_cmyk.jpg": _encoded(photo.convert("CMYK"), "JPEG"),
        "odd_grey.jpg": _encoded(photo.convert("L"), "JPEG"),
        "odd_16_bit.png": _encoded(sixteen_bits(photo), "PNG"),
        "odd_1_bit.png": _encoded(photo.convert("1"), "PNG"),
        "odd_palette.png": _encoded(photo.convert("P"), "PNG"),
        "odd_alpha.png": _encoded(transparent, "PNG"),
        "odd_animated.gif": _encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100),
        "odd_cut_short.jpg": jpeg[: len(jpeg) * 9 // 10],
        "odd_rotated.jpg": rotated(photo, 6),
        "odd_webp.webp": _encoded(photo, "WEBP"),
        "odd_tiff.tif": _encoded(photo, "TIFF"),
        "odd_bmp.bmp": _encoded(photo, "BMP"),
        "odd_heic.heic": (_HERE / "cat.heic").read_bytes(),
        "odd_wrong_name.txt": jpeg,
    }


def in_bytes(payload: bytes, most: int) -> bytes:
    """The photo as a JPEG of 800 pixels' width, in the best quality that needs at most so many bytes."""
    photo = Image.open(io.BytesIO(payload)).convert("RGB")
    photo = photo.resize((_WIDTH, round(_WIDTH * photo.height / photo.width)))
    best, too_good = 1, 99
    while too_good - best > 1:
        quality = (best + too_good) // 2
        if len(_encoded(photo, "JPEG", quality=quality)) <= most:
            best = quality
        else:
            too_good = quality
    return _encoded(photo, "JPEG", quality=best)


def rotated(photo: Image.Image, orientation: int) -> bytes:
    """The photo with turned pixels and the EXIF orientation (6 or 8) that turns it back, as cameras store it."""
    turn = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _encoded(photo.transpose(turn), "JPEG", exif=exif)


def sixteen_bits(photo: Image.Image) -> Image.Image:
    """The photo in 16-bit grey; white is 65,535."""
    grey = photo.convert("L").convert("I").point(lambda value: value * 257)
    return grey.convert("I;16")


def bomb(width: int, height: int) -> bytes:
    """A PNG of a single colour: a few kilobytes that unpack to `width * height` pixels."""
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
