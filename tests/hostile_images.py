"""Small files that cost a decoder much, if nobody counts their parts first."""

import struct
import zlib

import numpy as np
from PIL import Image

from tests.inference_fixtures import encoded


def noise(width: int, height: int) -> Image.Image:
    """A picture that does not compress well."""
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def many_scans(image: Image.Image, scans: int) -> bytes:
    """A progressive JPEG whose last scan, a refinement, is there again and again."""
    payload = encoded(image, "JPEG", progressive=True, quality=50)
    last = payload.rindex(b"\xff\xda")
    return payload[:last] + payload[last:-2] * scans + b"\xff\xd9"


def baseline(width: int, height: int) -> bytes:
    """A small baseline JPEG of one grey with sides that are multiples of 16."""
    payload = encoded(Image.new("RGB", (16, 16), (128, 128, 128)), "JPEG")
    frame, scan = payload.index(b"\xff\xc0"), payload.index(b"\xff\xda")
    sides = struct.pack(">HH", height, width)
    # 16 x 16 pixels are four blocks of luminance and two of colour. In each nothing changes: in the tables that every
    # encoder has, that is written as 00 1010 and 00 00.
    same = bytes([0b00101000, 0b10100010, 0b10001010, 0b00000000])
    head = payload[: frame + 5] + sides + payload[frame + 9 : scan + 14]
    return head + same * (width // 16 * height // 16) + b"\xff\xd9"


def many_segments(count: int) -> bytes:
    """A JPEG with many empty comments."""
    payload = encoded(noise(64, 64), "JPEG")
    return payload[:2] + b"\xff\xfe\x00\x02" * count + payload[2:]


def padded(count: int, byte: bytes) -> bytes:
    """A JPEG with bytes without meaning before its first segment."""
    payload = encoded(noise(64, 64), "JPEG")
    return payload[:3] + byte * count + payload[2:]


def many_chunks(count: int) -> bytes:
    """A PNG with many empty chunks before its pixels."""
    payload = encoded(noise(64, 64), "PNG")
    return payload[:33] + _chunk(b"teSt", b"") * count + payload[33:]


def thin(rows: int) -> bytes:
    """A PNG of 1 pixel by `rows`."""
    packed = zlib.compress(bytes(2 * rows), 9)
    header = struct.pack(">IIBBBBB", 1, rows, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def many_frames(kind: str, count: int) -> bytes:
    """An animation."""
    frames = [Image.new("RGB", (8, 8), (index % 2 * 255, 0, 0)) for index in range(count)]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def long_comment(blocks: int) -> bytes:
    """A GIF with a comment in blocks of one byte."""
    payload = encoded(Image.new("1", (8, 8)), "GIF")
    start = 13 + (3 << ((payload[10] & 7) + 1))
    return payload[:start] + b"!\xfe" + b"\x01a" * blocks + b"\0" + payload[start:]


def cyclic_tiff() -> bytes:
    """A TIFF whose directory is followed by itself."""
    image = noise(64, 64)
    payload = bytearray(encoded(image, "TIFF"))
    (start,) = struct.unpack_from("<I", payload, 4)
    (entries,) = struct.unpack_from("<H", payload, start)
    struct.pack_into("<I", payload, start + 2 + 12 * entries, start)
    return bytes(payload)


def greedy_directory(entries: int, size: int) -> bytes:
    """A directory, of a TIFF file or of EXIF data, whose entries all name the same `size` bytes."""
    tags = b"".join(struct.pack("<HHII", 1_000 + index, 7, size, 8) for index in range(entries))
    return b"II*\0" + struct.pack("<I", 8 + size) + bytes(size) + struct.pack("<H", entries) + tags + bytes(4)


def greedy_exif() -> bytes:
    """A JPEG with EXIF data in many segments, whose entries all name the same bytes."""
    payload, body = encoded(noise(64, 64), "JPEG"), greedy_directory(10_000, 800_000)
    parts = [body[start : start + 65_000] for start in range(0, len(body), 65_000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts)
    return payload[:2] + segments + payload[2:]


def tiff_of_jpeg(width: int, height: int, scans: int) -> bytes:
    """A TIFF whose only strip is a JPEG with many scans."""
    strip = many_scans(Image.new("RGB", (width, height)), scans)
    bits = 8 + 2 + 10 * 12 + 4
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, bits),
        (259, 3, 1, 7),  # compression: JPEG
        (262, 3, 1, 6),  # colours: YCbCr
        (273, 4, 1, bits + 8),
        (277, 3, 1, 3),
        (278, 4, 1, height),
        (279, 4, 1, len(strip)),
        (530, 3, 2, 0x00020002),  # subsampling: 2 x 2
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHHH", 8, 8, 8, 0) + strip


def files() -> dict[str, bytes]:
    """Every hostile image by its name."""
    return {
        "4,000 scans": many_scans(Image.new("RGB", (4_000, 3_000)), 4_000),
        "30 scans of 48 megapixels": many_scans(Image.new("RGB", (8_000, 6_000)), 30),
        "a million segments": many_segments(1_000_000),
        "10 million bytes of padding": padded(10_000_000, b"\xff"),
        "10 million bytes of junk": padded(10_000_000, b"\0"),
        "a million chunks": many_chunks(1_000_000),
        "1 x 50 million": thin(50_000_000),
        "10,000 frames of GIF": many_frames("GIF", 10_000),
        "10,000 frames of WebP": many_frames("WEBP", 10_000),
        "a GIF's comment in a million blocks": long_comment(1_000_000),
        "a cyclic TIFF": cyclic_tiff(),
        "a greedy TIFF": greedy_directory(60_000, 10_000_000),
        "a TIFF with 90 scans": tiff_of_jpeg(2_000, 1_500, 80),
        "greedy EXIF data": greedy_exif(),
        "a baseline JPEG of 200 megapixels": baseline(14_128, 14_128),
        "a greedy PNG": encoded(noise(64, 64), "PNG", exif=greedy_directory(60_000, 10_000_000)),
    }
