"""Packs an activation for its way from the head to the tail, and unpacks it. Pure: bytes in, numbers out."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.split import header as headers
from inference.split.header import BadActivation, Header, check_meets
from inference.split.point import CutPoint

Numbers = NDArray[np.float32]

ZSTD_LEVEL = 3
GZIP_LEVEL = 6  # what a browser's CompressionStream takes
_LEVELS = 255  # steps of uint8
_MOST_WINDOW = 8 * 1024 * 1024  # bytes that zstd may ask for beside its output
_GZIP = 16 + zlib.MAX_WBITS  # tells zlib to expect gzip's header
_LARGEST = float(np.finfo(np.float32).max)


def pack(activation: Numbers, point: CutPoint, dtype: str = "uint8", compression: str = "zstd") -> bytes:
    """A message with the activation of one picture, of `point.shape`.

    dtype: "float32" loses nothing; "uint8" divides the range from the least to the largest number into 255 steps.

    Raises BadActivation for numbers that are not finite, and for another shape.
    """
    if activation.shape != point.shape:
        raise BadActivation(f"the head gave the shape {list(activation.shape)}, not {list(point.shape)}")
    if not np.isfinite(activation).all():
        raise BadActivation("the head gave a number that is not finite")
    numbers, scale, offset = quantize(activation) if dtype == "uint8" else (activation.astype("<f4"), 1.0, 0.0)
    raw = numbers.tobytes()
    check = zlib.crc32(raw)
    header = Header(point.model, point.cut, point.pair, point.shape, dtype, compression, check, scale, offset)
    return header.to_bytes() + compress(raw, compression)


def unpack(message: bytes, tail: CutPoint) -> Numbers:
    """The activation in a message, float32 of `tail.shape`. Raises BadActivation.

    No more memory is taken than the activation of this tail needs, whatever the message says or holds.
    """
    header, packed = headers.read(message)
    check_meets(header, tail)
    raw = _decompressed(packed, header)
    if zlib.crc32(raw) != header.check:
        raise BadActivation("the activation's numbers are damaged: their checksum is wrong")
    if header.dtype == "uint8":
        numbers = dequantize(np.frombuffer(raw, np.uint8), header.scale, header.offset)
    else:
        numbers = np.frombuffer(raw, "<f4").astype(np.float32)
    if not np.isfinite(numbers).all():
        raise BadActivation("the activation has a number that is not finite")
    return numbers.reshape(header.shape)


def quantize(activation: Numbers) -> tuple[NDArray[np.uint8], float, float]:
    """The activation in 255 steps of equal size: bytes, scale and offset, so that number = offset + scale * byte."""
    least, largest = float(activation.min()), float(activation.max())
    scale = (largest - least) / _LEVELS
    # A scale that float32 rounds to zero would be refused, and would say nothing.
    scale = scale if scale > np.finfo(np.float32).tiny else 1.0
    if _LEVELS * scale > _LARGEST:
        raise BadActivation("the head gave numbers too far apart for 255 steps")
    steps = np.rint((activation.astype(np.float64) - least) / scale)
    return np.clip(steps, 0, _LEVELS).astype(np.uint8), scale, least


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
