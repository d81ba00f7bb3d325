"""The photo formats that Shoal reads: the one list of the page, the command line, training and the workers."""

from __future__ import annotations

SUFFIXES_BY_FORMAT = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "GIF": (".gif",),
    "WebP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "HEIC": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
}
NAMES = ", ".join(SUFFIXES_BY_FORMAT)
SUFFIXES = frozenset(suffix for suffixes in SUFFIXES_BY_FORMAT.values() for suffix in suffixes)
ACCEPT = ",".join(["image/*", *sorted(SUFFIXES)])
"""The `accept` of a file picker: image/* and the suffixes that some systems do not know as images."""

_AVIF_BRANDS = frozenset([b"avif", b"avis"])
_HEIC_BRANDS = frozenset([b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"])
HEAD_BYTES = 256

_RAW, _VIDEO, _ICON, _ARCHIVE, _SVG, _WEB_PAGE = (
    "a camera's RAW file",
    "a video",
    "an icon file",
    "an archive",
    "SVG",
    "a web page",
)
# First bytes -> what is not read, in the singular.
_UNREAD = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"II\xbc": "JPEG XR",
    b"8BPS": "a Photoshop file",
    b"gimp xcf": "a GIMP file",
    b"%PDF": "a PDF file",
    b"%!PS": "a PostScript file",
    b"v/1\1": "OpenEXR",
    b"DDS ": "a DDS texture",
    b"\0\0\2\0\0\0\0\0": "TGA",
    b"\0\0\x0a\0\0\0\0\0": "TGA",
    b"\0\0\1\0": _ICON,
    b"\0\0\2\0": _ICON,
    b"icns": _ICON,
    b"FUJIFILMCCD-RAW": _RAW,
    b"IIRO": _RAW,  # Olympus
    b"IIRS": _RAW,
    b"MMOR": _RAW,
    b"IIU\0": _RAW,  # Panasonic
    b"FOVb": _RAW,  # Sigma
    b"\0MRM": _RAW,  # Minolta
    b"\x1aE\xdf\xa3": _VIDEO,
    b"\0\0\1\xb3": _VIDEO,
    b"\0\0\1\xba": _VIDEO,
    b"PK\3\4": _ARCHIVE,
    b"\x1f\x8b": _ARCHIVE,
    b"Rar!": _ARCHIVE,
    b"7z\xbc\xaf": _ARCHIVE,
    b"version https://git-lfs": "a pointer of Git LFS",  # in place of the photo, which was not fetched
}


def iso_format(head: bytes) -> str:
    """AVIF or HEIC by the brands in a file's first bytes; "" for a file of another kind."""
    if head[4:8] != b"ftyp":
        return ""
    major = head[8:12]
    end = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {major} | {head[at : at + 4] for at in range(16, end, 4)}
    if major in _AVIF_BRANDS or (major in (b"mif1", b"msf1") and brands & _AVIF_BRANDS):
        return "AVIF"
    return "HEIC" if brands & _HEIC_BRANDS else ("AVIF" if brands & _AVIF_BRANDS else "")


def unread(head: bytes) -> str:
    """The name of a known format that is not read, by a file's first bytes; "" for any other file."""
    if head[4:8] == b"ftyp":
        return _RAW if head[8:12] == b"crx " else _VIDEO
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _VIDEO
    if head[128:132] == b"DICM":
        return "DICOM"
    return next((name for start, name in _UNREAD.items() if head.startswith(start)), "") or _markup(head)


def _markup(head: bytes) -> str:
    """SVG or a web page, by its first words; "" for another file."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<svg", b"<?xml", b"<!--")) and b"<svg" in text:
        return _SVG
    return _WEB_PAGE if text.startswith((b"<!doctype html", b"<html")) else ""
