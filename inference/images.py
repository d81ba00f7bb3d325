"""Opens images that strangers upload: safely, in bounded memory, and cropped as the model expects.

Whatever the bytes are, a public function raises nothing but BadImage. Its message can be shown to the sender.
"""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from PIL import Image, ImageFile, UnidentifiedImageError

from inference import image_limits
from inference.decoding import camera_raw, colours, cut_files, deep_tiff, levels, photo_formats, png_chunks
from shoal.errors import BadImage

if TYPE_CHECKING:  # slow to import, and the web tier, which only checks and shrinks photos, does without
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")

# Pillow's own limit is of 179 megapixels, and a warning comes at half of it. `max_pixels` takes their place.
Image.MAX_IMAGE_PIXELS = None

# An allow-list, because some of Pillow's readers (EPS, for example) start another program. Of two readers of TIFFs the
# first takes what the second does not read, or reads wrongly.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", deep_tiff.NAME, "TIFF")

# "Resize the short side to 256, crop the centre 224" as a share of the short side; see docs/models.md.
CROP = 224 / 256

# libjpeg can decode at 1/2, 1/4 or 1/8 of the size, in less time and memory. It keeps at least twice the pixels that
# the resize needs, so that the labels stay the same (docs/models.md).
DRAFT = 2

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_SIDEWAYS = (5, 6, 7, 8)  # width and height are exchanged

_UNREADABLE = f"this is not an image that Shoal can read ({photo_formats.NAMES})"
_DAMAGED = "the image is damaged or cut short"
_UNREAD_TIFF = "the TIFF is damaged or cut short, or of a kind that is not read here"
_MEGABYTE = 1024 * 1024

_SIGNATURES = (png_chunks.SIGNATURE, b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*")

_warnings_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image's header: format (JPEG, PNG, ..., HEIF), width and height in pixels as stored (before the EXIF
    orientation), size in bytes."""

    format: str
    width: int
    height: int
    bytes: int


def inspect(file: BinaryIO, max_bytes: int, max_pixels: int) -> ImageInfo:
    """Read only the header of an image, and rewind the file to its start. Raises BadImage."""
    size = file.seek(0, os.SEEK_END)
    check_bytes(size, max_bytes)

    def read() -> ImageInfo:
        file.seek(0)
        image = _open(_with_filled_webp(file), max_pixels, header_only=True)
        return ImageInfo(image.format or "", image.width, image.height, size)

    try:
        return _guarded(read)
    finally:
        file.seek(0)


@dataclass(frozen=True, slots=True)
class Opened:
    """A small picture: RGB [height, width, 3], upright, transparency on white, the first frame of an animation.

    size:     width and height in pixels of the original, upright.
    warnings: what of the picture is lost, in words for people.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    warnings: tuple[str, ...] = ()


def open_square(payload: bytes, side: int, max_pixels: int) -> Opened:
    """Open the central square of an image as [side, side, 3]. Raises BadImage.

    This is "short side to 256, centre crop 224" in one resize, so an image of 20,000 x 1 pixels needs no more memory
    than any other.
    """
    return _guarded(lambda: _opened(payload, max_pixels, _square(side)))


def open_squashed(payload: bytes, side: int, max_pixels: int) -> Opened:
    """Open a whole image as [side, side, 3]; its proportions are not kept. Raises BadImage."""
    return _guarded(lambda: _opened(payload, max_pixels, _squashed(side)))


def open_whole(payload: bytes, pixels: int, max_pixels: int) -> Opened:
    """Open a whole image in its proportions, its long side at most `pixels`. Raises BadImage."""
    return _guarded(lambda: _opened(payload, max_pixels, _whole(pixels)))


def thumbnail(payload: bytes, pixels: int, max_pixels: int) -> bytes:
    """Make a JPEG of the whole picture, upright, its long side at most `pixels`. Raises BadImage."""
    return _guarded(lambda: _thumbnail(payload, pixels, max_pixels))


def exif(payload: bytes, max_pixels: int) -> Image.Exif:
    """The EXIF data of an image, which may be empty. To read them further may raise anything. Raises BadImage."""

    def read() -> Image.Exif:
        image = _open(io.BytesIO(payload), max_pixels)
        if image.format == "PNG":
            image.load()  # the data may stand behind the pixels
        _check_exif(image.info)
        return image.getexif()

    return _guarded(read)


def check_size(payload: bytes, max_bytes: int) -> None:
    """Raise BadImage if the payload is empty or too large."""
    check_bytes(len(payload), max_bytes)


def check_bytes(size: int, max_bytes: int) -> None:
    """Raise BadImage if an image of so many bytes is empty or too large."""
    if size == 0:
        raise BadImage("the file is empty")
    if size > max_bytes:
        raise BadImage(
            f"the file has {_short(size / _MEGABYTE)} MB; at most {_short(max_bytes / _MEGABYTE)} MB are accepted"
        )


def _short(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0") if number < 100 else f"{number:.0f}"


def _guarded(work: Callable[[], T]) -> T:
    """Run `work`, and turn every error of a decoder, MemoryError included, into BadImage."""
    try:
        try:
            return work()
        except Warning:
            # Only if warnings are errors (`python -W error`): a warning is no reason to refuse a photo.
            with _warnings_lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return work()
    except BadImage:
        raise
    except MemoryError:
        raise BadImage("the image needs more memory than this machine has free") from None
    except Exception as error:
        raise BadImage(_DAMAGED) from error


def _open(file: BinaryIO, max_pixels: int, header_only: bool = False) -> ImageFile.ImageFile:
    head = file.read(photo_formats.HEAD_BYTES)
    file.seek(0)
    image_limits.check_header(file)
    if head.startswith(png_chunks.SIGNATURE):
        file = png_chunks.copy(file, pixels=not header_only)
    kind = photo_formats.iso_format(head)
    formats = (_heif(),) if kind == "HEIC" else (kind,) if kind else FORMATS
    try:
        image = Image.open(file, formats=formats)
    except UnidentifiedImageError:
        raise BadImage(_why_unread(file, head, kind)) from None
    image_limits.check_side(*image.size, image.format)
    _check_pixels(image, file, max_pixels)
    return image


def _check_pixels(image: Image.Image, file: BinaryIO, max_pixels: int) -> None:
    """Raise BadImage if an image has too many pixels. A JPEG that is decoded smaller may have more."""
    pixels = image.width * image.height
    if pixels <= max_pixels:
        return
    position = file.tell()
    reduced = image_limits.has_one_scan(file)
    file.seek(position)
    most = max_pixels * image_limits.REDUCED**2 if reduced else max_pixels
    if pixels > most:
        raise BadImage(f"the photo has {_short(pixels / 1e6)} megapixels; at most {_short(most / 1e6)} are accepted")


def _with_filled_webp(file: BinaryIO) -> BinaryIO:
    """The file itself; a copy that is filled up for a WebP file that is cut short, which no decoder opens."""
    head = file.read(12)
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if head[:4] != b"RIFF" or head[8:] != b"WEBP" or 8 + int.from_bytes(head[4:8], "little") <= size:
        return file
    image_limits.check_header(file)  # `pad_webp`, too, looks at each chunk
    return io.BytesIO(cut_files.pad_webp(file.read())[0])


def _why_unread(file: BinaryIO, head: bytes, kind: str) -> str:
    if kind or head.startswith(_SIGNATURES):
        return _DAMAGED
    name = camera_raw.NAME if camera_raw.is_raw(file) else photo_formats.unread(head)
    if name:
        return f"{name} is not read here; Shoal reads {photo_formats.NAMES}"
    return _UNREAD_TIFF if head.startswith(_TIFF_SIGNATURES) else _UNREADABLE


def _heif() -> str:
    # Imported for HEIC files only: it costs time and memory that most workers never need.
    try:
        import pi_heif
    except ImportError:
        raise BadImage("HEIC photos cannot be read here: the package pi-heif is not installed") from None
    pi_heif.register_heif_opener()
    return "HEIF"


Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _View:
    """How to make a picture small.

    needed: the least width and height at which a JPEG may be decoded.
    box:    (width, height) of the picture -> the part of it that is used.
    target: (width, height) of the picture -> the width and height of the result.
    """

    needed: int
    box: Callable[[int, int], Box]
    target: Callable[[int, int], tuple[int, int]]


def _square(side: int) -> _View:
    def box(width: int, height: int) -> Box:
        short = min(width, height) * CROP
        left, top = (width - short) / 2, (height - short) / 2
        return left, top, left + short, top + short

    return _View(round(DRAFT * side / CROP), box, lambda *_: (side, side))


def _squashed(side: int) -> _View:
    return _View(DRAFT * side, _all, lambda *_: (side, side))


def _whole(pixels: int) -> _View:
    def target(width: int, height: int) -> tuple[int, int]:
        scale = min(1.0, pixels / max(width, height))
        return max(1, round(width * scale)), max(1, round(height * scale))

    return _View(pixels, _all, target)


def _all(width: int, height: int) -> Box:
    return 0, 0, width, height


def _opened(payload: bytes, max_pixels: int, view: _View) -> Opened:
    picture, size, lost = _small(payload, max_pixels, view)
    import numpy as np

    return Opened(np.asarray(picture, dtype=np.uint8), size, lost)


def _thumbnail(payload: bytes, pixels: int, max_pixels: int) -> bytes:
    picture, _, _ = _small(payload, max_pixels, _whole(pixels))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=85, comment=b"")  # nothing of the photo but its pixels: Pillow copies comments
    return out.getvalue()


def _small(payload: bytes, max_pixels: int, view: _View) -> tuple[Image.Image, tuple[int, int], tuple[str, ...]]:
    """The picture as `view` describes, RGB and upright, the width and height of the upright original, and warnings."""
    image, (width, height), lost = _loaded(payload, max_pixels, view)
    orientation = _orientation(image)  # after load: some readers turn the picture themselves and then set 1
    target = view.target(width, height)
    profile = image.info.get("icc_profile")
    image, box = _resizable(image, view.box(*image.size))
    small = colours.to_srgb(image.resize(target, Image.Resampling.BILINEAR, box=box), profile)
    size = (height, width) if orientation in _SIDEWAYS else (width, height)
    return _upright(_on_white(small), orientation), size, lost


def _loaded(payload: bytes, max_pixels: int, view: _View) -> tuple[Image.Image, tuple[int, int], tuple[str, ...]]:
    """The decoded image, width and height before it was made smaller, and warnings."""
    missing = 0.0
    if payload[:4] == b"RIFF":
        image_limits.check_header(io.BytesIO(payload))  # `pad_webp`, too, looks at each chunk
        payload, missing = cut_files.pad_webp(payload)

    def opened(body: bytes = payload) -> ImageFile.ImageFile:
        image = _open(io.BytesIO(body), max_pixels)
        _draft(image, view.needed, max_pixels)
        return image

    def decoded(body: bytes) -> Image.Image:
        image = opened(body)
        image.load()
        return image

    image = _open(io.BytesIO(payload), max_pixels)
    size = image.size
    whole = image_limits.check_scans(io.BytesIO(payload), image.width * image.height)
    if whole is not None:
        picture, texts = cut_files.load_jpeg(payload[:whole], decoded)
        return picture, size, texts
    _draft(image, view.needed, max_pixels)
    deep = levels.has_deep_colours(image)
    if image.format == "PNG":
        image.info[levels.SIGNIFICANT_BITS] = png_chunks.significant_bits(io.BytesIO(payload))
    loaded, lost = cut_files.load(image, opened)
    if deep and loaded is image:
        levels.lighten(image, opened())
    return loaded, size, cut_files.warning(lost or missing) + _more_pictures(payload, image)


def _draft(image: ImageFile.ImageFile, needed: int, max_pixels: int) -> None:
    """Let a JPEG be decoded smaller, with sides of at least `needed` pixels unless it has more than `max_pixels`."""
    least = image_limits.REDUCED if image.width * image.height > max_pixels else 1
    image.draft(None, (min(needed, image.width // least) or 1, min(needed, image.height // least) or 1))


def _more_pictures(payload: bytes, image: Image.Image) -> tuple[str, ...]:
    """A warning for people if a TIFF or an animation has pictures besides the first, which alone is labelled."""
    if image.format == "TIFF" and camera_raw.is_raw(io.BytesIO(payload)):
        return (camera_raw.PREVIEW,)
    if image.format == "PNG":
        more = png_chunks.is_animated(io.BytesIO(payload))
    else:
        more = levels.has_more_pictures(image, payload)
    return (levels.PAGES,) if more else ()


def _resizable(image: Image.Image, box: Box) -> tuple[Image.Image, Box]:
    """Convert an image to a mode that Pillow resizes with a filter. Returns it and the box inside it.

    Pillow would resize palette and 1-bit images without a filter, and clip 16-bit greys. They are converted at full
    size, but only inside the box.
    """
    mode = _resizable_mode(image)
    if image.format == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        mode = "RGB"  # Windows, too, shows a BMP whose fourth bytes are all zero as opaque
    if mode == image.mode != "F":
        return image, box
    left, top = int(box[0]), int(box[1])
    right, bottom = min(image.width, int(box[2]) + 1), min(image.height, int(box[3]) + 1)
    part = image.crop((left, top, right, bottom))
    part = levels.eight_bits(part, image) if mode == "F" else part.convert(mode)
    moved = (box[0] - left, box[1] - top, min(box[2] - left, part.width), min(box[3] - top, part.height))
    return part, moved


def _resizable_mode(image: Image.Image) -> str:
    if image.mode == "1":
        return "L"
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return "F"
    if image.mode == "PA" or "transparency" in image.info:
        return "RGBA"
    return "RGB" if image.mode == "P" else image.mode


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "RGBa", "La"):
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")


def _orientation(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 if it is missing or cannot be read."""
    try:
        _check_exif(image.info)
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Warning:
        raise
    except Exception:  # broken EXIF data are common, and the picture itself is fine
        return 1
    return value if isinstance(value, int) else 1


def _check_exif(info: dict[str | tuple[int, int], Any]) -> None:
    """Raise BadImage if Pillow would need much memory for the EXIF data."""
    data: bytes = info.get("exif") or b""
    if not data and "Raw profile type exif" in info:
        data = bytes.fromhex("".join(info["Raw profile type exif"].split("\n")[3:]))
    image_limits.check_directory(io.BytesIO(data.removeprefix(b"Exif\0\0")))


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)
