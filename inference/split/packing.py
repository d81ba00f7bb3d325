"""Packs an activation for its way from the head to the tail, and unpacks it. Pure: bytes in, numbers out."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.split import header as headers
from inference.split.header import BadActivation, Header, check_meets
from inference.split.point import CutPoint
from shoal.messages import Box

Numbers = NDArray[np.float32]

ZSTD_LEVEL = 3
GZIP_LEVEL = 6  # what a browser's CompressionStream takes
LEVELS = {"uint8": 255, "uint4": 15}  # steps from the least to the largest number
# The percentile up to which numbers are told, and from the other end the same: with few steps outliers cost too much.
KEPT = {"uint8": 100.0, "uint4": 99.9}
_MOST_WINDOW = 8 * 1024 * 1024  # bytes that zstd may ask for beside its output
_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to expect gzip's header
_LARGEST = float(np.finfo(np.float32).max)


def pack(activation: Numbers, point: CutPoint, dtype: str = "uint8", compression: str = "zstd") -> bytes:
    """A message with the activation of one picture, of `point.shape`.

    dtype: "float32" loses nothing; "uint8" divides the range from the least to the largest number into 255 steps;
           "uint4" divides it into 15, without the largest and the least thousandth of the numbers.

    Raises BadActivation for numbers that are not finite, and for another shape.
    """
    if activation.shape != point.shape:
        raise BadActivation(f"the head gave the shape {list(activation.shape)}, not {list(point.shape)}")
    return _packed(activation, point, dtype, compression)


def pack_parts(
    activations: Numbers, point: CutPoint, boxes: Sequence[Box], size: tuple[int, int], dtype: str = "uint8"
) -> bytes:
    """A message with the activations of parts of a picture, such as faces, [parts, *point.shape]. There may be none.

    boxes: the part that each shows, in pixels of the picture, whose width and height are `size`. dtype: as in `pack`.

    Raises BadActivation for numbers that are not finite.
    """
    return _packed(activations, point, dtype, "zstd", tuple(boxes), size)


def _packed(
    activation: Numbers,
    point: CutPoint,
    dtype: str,
    compression: str,
    boxes: tuple[Box, ...] | None = None,
    size: tuple[int, int] = (0, 0),
) -> bytes:
    if not np.isfinite(activation).all():
        raise BadActivation("the head gave a number that is not finite")
    if dtype == "float32":
        raw, scale, offset = activation.astype("<f4").tobytes(), 1.0, 0.0
    else:
        steps, scale, offset = quantize(activation, dtype)
        raw = as_bytes(steps, dtype)
    check = zlib.crc32(raw)
    header = Header(
        point.model, point.cut, point.pair, point.shape, dtype, compression, check, scale, offset, boxes, size
    )
    return header.to_bytes() + compress(raw, compression)


def unpack(message: bytes, tail: CutPoint) -> Numbers:
    """The activation in a message, float32 of `tail.shape`. Raises BadActivation.

    No more memory is taken than the activation of this tail needs, whatever the message says or holds.
    """
    header, packed = headers.read(message)
    if header.boxes is not None:
        raise BadActivation("the activation is of parts of a picture, and this tail reads whole pictures")
    return _unpacked(header, packed, tail).reshape(header.shape)


@dataclass(frozen=True, slots=True)
class Parts:
    """What travelled of a picture's parts. activations: [parts, *shape]. boxes, size: see Header."""

    activations: Numbers
    boxes: tuple[Box, ...]
    size: tuple[int, int]


def unpack_parts(message: bytes, tail: CutPoint) -> Parts:
    """The activations of a picture's parts, such as faces, in a message. Raises BadActivation, as `unpack` does."""
    header, packed = headers.read(message)
    if header.boxes is None:
        raise BadActivation("the activation is of a whole picture, and this tail reads parts of pictures")
    numbers = _unpacked(header, packed, tail)
    return Parts(numbers.reshape(len(header.boxes), *header.shape), header.boxes, header.size)


def _unpacked(header: Header, packed: bytes, tail: CutPoint) -> Numbers:
    check_meets(header, tail)
    raw = _decompressed(packed, header)
    if zlib.crc32(raw) != header.check:
        raise BadActivation("the activation's numbers are damaged: their checksum is wrong")
    if header.dtype == "float32":
        numbers = np.frombuffer(raw, "<f4").astype(np.float32)
    else:
        numbers = dequantize(_steps(raw, header), header.scale, header.offset)
    if not np.isfinite(numbers).all():
        raise BadActivation("the activation has a number that is not finite")
    return numbers


def quantize(activation: Numbers, dtype: str = "uint8") -> tuple[NDArray[np.uint8], float, float]:
    """The activation in steps of equal size: the steps, scale and offset, so that number = offset + scale * step.

    dtype: "uint8" or "uint4". Raises BadActivation.
    """
    if not activation.size:
        return np.zeros(activation.shape, np.uint8), 1.0, 0.0
    levels, kept = LEVELS[dtype], KEPT[dtype]
    least, largest = float(activation.min()), float(activation.max())
    if kept < 100 and largest > least:
        low, high = (float(one) for one in np.percentile(activation, (100 - kept, kept)))
        least, largest = (low, high) if high > low else (least, largest)
    scale = (largest - least) / levels
    # A scale that float32 rounds to zero would be refused, and would say nothing.
    scale = scale if scale > np.finfo(np.float32).tiny else 1.0
    if levels * scale > _LARGEST:
        raise BadActivation(f"the head gave numbers too far apart for {levels} steps")
    steps = np.rint((activation.astype(np.float64) - least) / scale)
    return np.clip(steps, 0, levels).astype(np.uint8), scale, least


def as_bytes(steps: NDArray[np.uint8], dtype: str) -> bytes:
    """The steps as they travel before they are compressed."""
    if dtype == "uint8":
        return steps.tobytes()
    flat = steps.reshape(-1)
    even = np.append(flat, np.uint8(0)) if len(flat) % 2 else flat
    return np.asarray(even[::2] | even[1::2] << 4, np.uint8).tobytes()


def _steps(raw: bytes, header: Header) -> NDArray[np.uint8]:
    found = np.frombuffer(raw, np.uint8)
    if header.dtype == "uint8":
        return found
    return np.stack([found & 15, found >> 4], axis=-1).reshape(-1)[: header.values]


def dequantize(steps: NDArray[np.uint8], scale: float, offset: float) -> Numbers:
    """The numbers of `quantize`, of the same shape; infinite ones where float32 cannot hold them."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(steps * np.float32(scale) + np.float32(offset), np.float32)


def compress(raw: bytes, compression: str) -> bytes:
    """The bytes, compressed by "none", "gzip" or "zstd"."""
    if compression == "gzip":
        return gzip.compress(raw, GZIP_LEVEL, mtime=0)
    if compression == "zstd":
        return bytes(_zstandard().ZstdCompressor(level=ZSTD_LEVEL).compress(raw))
    return raw


def _decompressed(packed: bytes, header: Header) -> bytes:
    """The numbers' bytes. At most one byte more than the header says is ever decompressed."""
    expected = header.unpacked_bytes
    if header.compression == "none":
        raw, ended = packed, True
    elif header.compression == "gzip":
        raw, ended = _gunzipped(packed, expected + 1)
    else:
        raw, ended = _unzstd(packed, expected + 1)
    if len(raw) > expected:
        raise BadActivation(f"the activation unpacks to more than the {expected} bytes that its shape has")
    if len(raw) < expected or not ended:
        raise BadActivation(f"the activation is cut off: {len(raw)} of {expected} bytes")
    return raw


def _gunzipped(packed: bytes, most: int) -> tuple[bytes, bool]:
    stream = zlib.decompressobj(_GZIP)
    try:
        raw = stream.decompress(packed, most)
    except zlib.error as error:
        raise BadActivation("the activation's gzip data is damaged") from error
    return raw, stream.eof and not stream.unused_data


def _unzstd(packed: bytes, most: int) -> tuple[bytes, bool]:
    zstandard = _zstandard()
    source = io.BytesIO(packed)
    reader = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW).stream_reader(source)
    parts: list[bytes] = []
    left = most
    try:
        while left and (part := reader.read(left)):
            parts.append(part)
            left -= len(part)
    except zstandard.ZstdError as error:
        raise BadActivation("the activation's zstd data is damaged, or asks for too much memory") from error
    return b"".join(parts), True


def _zstandard() -> Any:
    import zstandard  # a worker that serves no tail starts without it

    return zstandard
