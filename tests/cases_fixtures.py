"""Small inputs of the kinds that real files, clients and folders bring, made from one photo of a cat."""

from __future__ import annotations

import base64
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image

from inference.decoding import cut_files, levels
from tests import hostile_images
from tests.inference_fixtures import cat, encoded
from tests.test_inference_colours import stored_in_swapped_colours, swapped
from tests.test_inference_levels import in_bits, png16, rgb_tiff, tiff, with_tag
from tests.test_inference_side_data import HEADER_END, PNG, WRONG, chunk, packed

JPEG = encoded(cat(), "JPEG")
CAT = "Egyptian_cat"


@dataclass(frozen=True, slots=True)
class Case:
    """A photo. label: the right answer, "" for any. warning, error: how what is said of it begins; "" for nothing."""

    name: str
    payload: bytes
    label: str = CAT
    warning: str = ""
    error: str = ""


def _with_chunk(side_data: bytes) -> bytes:
    return PNG[:HEADER_END] + side_data + PNG[HEADER_END:]


def _part(payload: bytes, share: float) -> bytes:
    return payload[: round(len(payload) * share)]


def _opaque_bmp_with_zero_alpha() -> bytes:
    image = cat().convert("RGBA")
    image.putalpha(0)
    return encoded(image, "BMP")


def _white_is_zero() -> bytes:
    grey = np.asarray(cat().convert("L")).astype(np.uint16)
    return with_tag(tiff((255 - grey) * 257, {}), 262, 0)


def _pages(kind: str) -> bytes:
    return encoded(cat(), kind, save_all=True, append_images=[Image.new("RGB", cat().size)])


PHOTOS = [
    Case("packed text.png", _with_chunk(chunk(b"zTXt", b"workflow\0\0" + packed(1_200_000)))),
    Case("wrong checksum.png", _with_chunk(chunk(b"pHYs", struct.pack(">IIB", 1, 1, 1), WRONG))),
    Case("no end.jpg", JPEG[:-2]),
    Case("cut progressive.jpg", _part(encoded(cat(), "JPEG", progressive=True), 0.9), warning=cut_files.CUT),
    Case("nine tenths.jpg", _part(JPEG, 0.9), warning=cut_files.CUT),
    Case("half.jpg", _part(JPEG, 0.5), label="", warning=cut_files.CUT),
    Case("nine tenths.png", _part(PNG, 0.9), warning=cut_files.CUT),
    Case("nine tenths.webp", _part(encoded(cat(), "WEBP"), 0.9), warning=cut_files.CUT),
    Case("nine tenths.bmp", _part(encoded(cat(), "BMP"), 0.9), label="", warning=cut_files.CUT),
    Case("zeros at the end.jpg", _part(JPEG, 0.9) + bytes(1_000), warning=cut_files.CUT),
    Case("alpha of zero.bmp", _opaque_bmp_with_zero_alpha()),
    Case("swapped colours.jpg", encoded(stored_in_swapped_colours("RGB"), "JPEG", quality=95, icc_profile=swapped())),
    Case("photo.avif", encoded(cat(), "AVIF", quality=90)),
    Case("avif called.jpg", encoded(cat(), "AVIF", quality=90)),
    Case("photo.jfif", JPEG),
    Case("white is zero.tif", _white_is_zero()),
    Case("floats.tif", rgb_tiff(np.asarray(cat()) / 255, kind="f4", packed=True)),
    Case("twelve bits.png", png16(in_bits(4095))),
    Case("ten bits.tif", rgb_tiff(in_bits(1023))),
    Case("planes.tif", rgb_tiff(np.asarray(cat()).astype(np.uint16) * 257, planes=True)),
    Case("pages.tif", _pages("TIFF"), warning=levels.PAGES),
    Case("animated.gif", _pages("GIF"), warning=levels.PAGES),
    Case("animated.png", _pages("PNG"), warning=levels.PAGES),
    Case("64 megapixels.jpg", hostile_images.baseline(8_000, 8_000), label=""),
    Case("video.jpg", b"\0\0\0\x18ftypmp42" + bytes(300), error="a video is not read here"),
    Case("photoshop.jpg", b"8BPS" + bytes(300), error="a Photoshop file is not read here"),
    Case("not found.jpg", b"<!doctype html><title>404" + bytes(300), error="a web page is not read here"),
]

# What a client may send: content type, body and the name of the photo.
_HEAD = b'--XX\r\nContent-Disposition: form-data; name="inputFile"; filename='


def _form(header: bytes, boundary: bytes = b"XX") -> bytes:
    body = header + b"\r\nContent-Type: image/jpeg\r\n\r\n" + JPEG + b"\r\n--XX--\r\n"
    return body.replace(b"--XX", b"--" + boundary)


FORMS = {
    "Latin-1": ("multipart/form-data; boundary=XX", _form(_HEAD + b'"caf\xe9.jpg"'), "café.jpg"),
    "GBK": ("multipart/form-data; boundary=XX", _form(_HEAD + b'"' + "照片.jpg".encode("gbk") + b'"'), "照片.jpg"),
    "unquoted UTF-8": ("multipart/form-data; boundary=XX", _form(_HEAD + "кот.jpg".encode()), "кот.jpg"),
    "RFC 2231": (
        "multipart/form-data; boundary=XX",
        _form(_HEAD + b"\"x.jpg\"; filename*=UTF-8''%e4%be%8b.jpg"),
        "例.jpg",
    ),
    "a Windows path": (
        "multipart/form-data; boundary=XX",
        _form(_HEAD + b'"C:\\photos\\new\\test_0.jpg"'),
        "test_0.jpg",
    ),
    "a zero byte": ("multipart/form-data; boundary=XX", _form(_HEAD + b'"a\0b.jpg"'), "a_b.jpg"),
    "an unquoted boundary with = : and /": (
        "multipart/form-data; boundary=----=_Part_5:1/33.17",
        _form(_HEAD + b'"a.jpg"', b"----=_Part_5:1/33.17"),
        "a.jpg",
    ),
    "upper case": ("Multipart/Form-Data; Boundary=abc123", _form(_HEAD + b'"a.jpg"', b"abc123"), "a.jpg"),
}

_BASE64 = base64.b64encode(JPEG).decode()
BASE64 = {
    "line ends": "\r\n".join(_BASE64[start : start + 76] for start in range(0, len(_BASE64), 76)),
    "the URL alphabet": base64.urlsafe_b64encode(JPEG).decode(),
    "no padding": _BASE64.rstrip("="),
    "a data: URL": f"data:image/jpeg;base64,{_BASE64}",
}

LEFTOVERS = ("__MACOSX/._cat.jpg", "._cat.jpg", ".DS_Store", "Thumbs.db", "@eaDir/cat.jpg/SYNOPHOTO_THUMB_M.jpg",
             ".thumbnails/cat.jpg", "#recycle/cat.jpg", "desktop.ini")  # fmt: skip
