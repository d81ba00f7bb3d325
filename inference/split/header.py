"""The header of a packed activation: whose it is, its form, how it is packed. Read without NumPy, nothing is unpacked.

    8 bytes   MAGIC
    1 byte    version
    2 bytes   length of the header, big-endian
    header    JSON: the fields of Header
    the rest  the numbers, little-endian, in C order, compressed

Whatever is wrong, the error is BadActivation with a sentence of its own, for the person who sent it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from inference.split.point import MOST_BYTES, MOST_DIMENSIONS, CutPoint
from shoal.errors import BadImage, MalformedMessage
from shoal.messages import Box
from shoal.safe_json import array, integer, number, read_object, text

MAGIC = b"\x89ShoalA\n"  # the first byte is no text, and no format of a photo begins so
VERSION = 1
MOST_HEADER_BYTES = 2048
BITS = {"float32": 32, "uint8": 8, "uint4": 4}  # of a number
COMPRESSIONS = ("none", "gzip", "zstd")
MOST_BOXES = 20  # parts of a picture, such as faces, in one message
MOST_PIXELS = 1_000_000  # of a picture's side
TYPE = "application/vnd.shoal.activation"

_FRONT = len(MAGIC) + 3
_TEXTS = ("model", "cut", "pair", "dtype", "compression")
_SHOWN = 80


class BadActivation(BadImage):
    """What was sent is no packed activation that this tail can take."""


@dataclass(frozen=True, slots=True)
class Header:
    """The form of a packed activation.

    model, cut, pair, shape: see CutPoint.
    dtype:       "float32"; "uint8": each number is offset + scale * byte; "uint4": the same with half bytes, of which
                 the lower half of a byte comes first.
    compression: "none", "gzip" or "zstd".
    check:       the CRC-32 of the numbers before they were compressed.
    boxes:       None for the activation of a whole picture. For a net that looks at parts of a picture, such as faces:
                 the part that each activation is of, in pixels; there may be none.
    size:        width and height of the picture, where there are boxes.
    """

    model: str
    cut: str
    pair: str
    shape: tuple[int, ...]
    dtype: str
    compression: str
    check: int
    scale: float = 1.0
    offset: float = 0.0
    boxes: tuple[Box, ...] | None = None
    size: tuple[int, int] = (0, 0)

    @property
    def values(self) -> int:
        """How many numbers travel."""
        return math.prod(self.shape) * (1 if self.boxes is None else len(self.boxes))

    @property
    def unpacked_bytes(self) -> int:
        """The length of the numbers once they are decompressed."""
        return (self.values * BITS[self.dtype] + 7) // 8

    def to_bytes(self) -> bytes:
        """Everything that stands before the numbers."""
        body = json.dumps(asdict(self), separators=(",", ":")).encode()
        return MAGIC + bytes([VERSION]) + len(body).to_bytes(2, "big") + body


def read(message: bytes) -> tuple[Header, bytes]:
    """The header of a packed activation, and the packed numbers. Raises BadActivation."""
    if message[: len(MAGIC)] != MAGIC:
        raise BadActivation("this is no packed activation; photos go to the other venues")
    if len(message) < _FRONT:
        raise BadActivation("the packed activation is cut off in its first bytes")
    if (version := message[len(MAGIC)]) != VERSION:
        raise BadActivation(f"the packed activation has version {version}, and this program reads {VERSION}")
    length = int.from_bytes(message[_FRONT - 2 : _FRONT], "big")
    if length > MOST_HEADER_BYTES:
        raise BadActivation(f"the activation's header has {length} bytes, more than {MOST_HEADER_BYTES}")
    if len(message) < _FRONT + length:
        raise BadActivation("the packed activation is cut off in its header")
    try:
        header = _header(read_object(message[_FRONT : _FRONT + length], "a header of an activation"))
    except (MalformedMessage, KeyError, TypeError, ValueError) as error:
        raise BadActivation(f"the activation's header is damaged: {str(error)[:_SHOWN]}") from error
    _check(header)
    return header, message[_FRONT + length :]


def unlike_any_other(message: bytes, mark: bytes) -> bytes:
    """The same activation as other bytes, for measurements: workers remember the answer to the same bytes.

    mark: each bit becomes a space or a tab behind the header's JSON. Raises BadActivation, as `read`.
    """
    header, numbers = read(message)
    front = header.to_bytes()
    blanks = "".join(f"{one:08b}" for one in mark).translate({ord("0"): " ", ord("1"): "\t"}).encode()
    length = len(front) - _FRONT + len(blanks)
    return front[: _FRONT - 2] + length.to_bytes(2, "big") + front[_FRONT:] + blanks + numbers


def check_meets(header: Header, tail: CutPoint) -> None:
    """Raise BadActivation unless the activation comes from the head that belongs to this tail."""
    if (header.model, header.cut) != (tail.model, tail.cut):
        raise BadActivation(
            f"the activation is of {header.model[:_SHOWN]} cut at {header.cut[:_SHOWN]}, and this is the tail of "
            f"{tail.model} cut at {tail.cut}"
        )
    if header.pair != tail.pair:
        raise BadActivation(
            f"head and tail of {tail.model} have different weights: prepare the head again (`shoal split prepare`)"
        )
    if header.shape != tail.shape:
        raise BadActivation(f"the activation has the shape {list(header.shape)}, and {list(tail.shape)} was expected")


def _header(fields: Mapping[str, Any]) -> Header:
    model, cut, pair, dtype, compression = (text(fields[name]) for name in _TEXTS)
    shape = tuple(map(_whole, array(fields, "shape")))
    scale, offset = number(fields["scale"]), number(fields["offset"])
    boxes, size = _boxes(fields)
    return Header(model, cut, pair, shape, dtype, compression, _whole(fields["check"]), scale, offset, boxes, size)


def _boxes(fields: Mapping[str, Any]) -> tuple[tuple[Box, ...] | None, tuple[int, int]]:
    """The boxes and the size of the picture; a whole picture's message may leave both out."""
    if fields.get("boxes") is None:
        return None, (0, 0)
    width, height = map(_whole, array(fields, "size"))
    boxes = []
    for edges in array(fields, "boxes"):
        left, top, right, bottom = map(_whole, edges)
        if not (0 <= left < right <= width <= MOST_PIXELS and 0 <= top < bottom <= height <= MOST_PIXELS):
            raise ValueError(f"{str(edges)[:_SHOWN]} is no box in a picture of {width} x {height} pixels")
        boxes.append((left, top, right, bottom))
    if len(boxes) > MOST_BOXES:
        raise ValueError(f"{len(boxes)} boxes are more than {MOST_BOXES}")
    return tuple(boxes), (width, height)


def _whole(value: Any) -> int:
    if isinstance(value, float):
        raise TypeError(f"{value} is no whole number")
    return integer(value)


def _check(header: Header) -> None:
    if header.dtype not in BITS:
        raise BadActivation(f"the activation's numbers are {header.dtype[:_SHOWN]!r}; known are {', '.join(BITS)}")
    if header.compression not in COMPRESSIONS:
        known = ", ".join(COMPRESSIONS)
        raise BadActivation(f"the activation is compressed by {header.compression[:_SHOWN]!r}; known are {known}")
    if not 0 < len(header.shape) <= MOST_DIMENSIONS or min(header.shape) < 1:
        raise BadActivation(f"{str(list(header.shape))[:_SHOWN]} is no shape of an activation")
    if max(math.prod(header.shape), header.values) * BITS["float32"] // 8 > MOST_BYTES:
        raise BadActivation(f"the activation would have more than {MOST_BYTES / 1e6:.0f} MB")
    if header.scale <= 0 or not math.isfinite(header.offset + 255 * header.scale):
        raise BadActivation("the activation's scale is no number that values can have")
