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

# First bytes -> what is not read, in the singular.
_UNREAD = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"8BPS": "a Photoshop file",
    b"%PDF": "a PDF file",
    b"<svg": "SVG",
    b"\0\0\1\0": "an icon file",
    b"FUJIFILMCCD-RAW": "a camera's RAW file",
    b"\x1aE\xdf\xa3": "a video",
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
        return "a camera's RAW file" if head[8:12] == b"crx " else "a video"
    return next((name for start, name in _UNREAD.items() if head.startswith(start)), "")
