"""Reads TIFFs of floats, of 16 or of 32 bits that Pillow does not read, or reads wrongly: plain or with deflate.

A format of Pillow's of its own. Libraries for such files set no limit on what compressed data unpack to.
"""

from __future__ import annotations

import zlib
from typing import IO, TYPE_CHECKING, Any, cast

from PIL import Image, ImageFile, TiffImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from inference.decoding import levels
from shoal.errors import BadImage

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NAME = "DEEP_TIFF"

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES = 256, 257, 258, 259, 262, 273, 277
_COUNTS, _PLANAR, _PREDICTOR, _SAMPLE_FORMAT = 279, 284, 317, 339
_UNSIGNED, _FLOAT = 1, 3
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_CONTIGUOUS, _PLANES = 1, 2
_UNCOMPRESSED, _DEFLATE = (1,), (8, 32_946)
_MOST_BYTES = 200 * 1024 * 1024  # unpacked: 16 megapixels of 32 bits
_ROWS = 256  # that are made 8 bits at once: a copy of the whole picture in floats would be large
_SIGNATURES = (b"II*\0", b"MM\0*")

# Greys where 0 is white: Pillow knows only some of them. `levels` turns them round.
_Kind = tuple[bytes, int, tuple[int], int, tuple[int, ...], tuple[int, ...]]
_WHITE_IS_ZERO_MODES: dict[_Kind, tuple[str, str]] = {
    (b"MM", 0, (1,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"II", 0, (1,), 2, (16,), ()): ("I;16", "I;16R"),
    (b"II", 0, (2,), 1, (16,), ()): ("I", "I;16S"),
    (b"MM", 0, (2,), 1, (16,), ()): ("I", "I;16BS"),
    (b"II", 0, (1,), 1, (12,), ()): ("I;16", "I;12"),
    (b"II", 0, (1,), 1, (32,), ()): ("I", "I;32N"),
    (b"II", 0, (2,), 1, (32,), ()): ("I", "I;32S"),
    (b"MM", 0, (2,), 1, (32,), ()): ("I", "I;32BS"),
}


class DeepTiff(ImageFile.ImageFile):
    """RGB, or greys as floats. Of colours 0 is black. White is 1 of floats, or the largest value if there are larger
    ones; of 32 bits the largest number; of 16 bits what `levels` says."""

    format = "TIFF"
    format_description = "TIFF of floats or of many bits"

    def _open(self) -> None:
        file = cast(IO[bytes], self.fp)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        self.tag_v2 = tags
        self._size = (int(tags[_WIDTH]), int(tags[_HEIGHT]))
        self._mode = "RGB" if tags.get(_PHOTOMETRIC) == _RGB else "F"
        if not self._is_deep():
            raise SyntaxError("not a TIFF that Pillow does not read")
        if not self._is_readable():
            raise BadImage("the TIFF is of a kind that is not read here")
        self.tile = [ImageFile._Tile(NAME, (0, 0, *self._size), 0, None)]

    def load(self) -> Any:
        """Decode the pixels. Raises ValueError for a file that is cut short."""
        if self.tile:
            self.im = self._decoded().im
            self.tile = []
        return Image.Image.load(self)

    def _is_deep(self) -> bool:
        """Whether Pillow does not read the file, or takes its 16 bits for 8: colours in planes, not compressed."""
        tags: dict[int, Any] = dict(self.tag_v2)
        kinds = set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)))
        bits = set(tags.get(_BITS, ()))
        if tags.get(_PHOTOMETRIC) == _RGB:
            planes = tags.get(_PLANAR, 1) == _PLANES and tags.get(_COMPRESSION, 1) in _UNCOMPRESSED
            return kinds == {_FLOAT} or bits == {32} or (bits == {16} and planes)
        return (kinds == {_FLOAT} and bits in ({16}, {64})) or (
            kinds == {_UNSIGNED} and bits == {32} and self.tag_v2.prefix == b"MM"
        )

    def _is_readable(self) -> bool:
        tags: dict[int, Any] = dict(self.tag_v2)
        samples = {_RGB: (3, 4), _WHITE_IS_ZERO: (1,), _BLACK_IS_ZERO: (1,)}
        return (
            set(tags.get(_SAMPLE_FORMAT, (_UNSIGNED,))) in ({_UNSIGNED}, {_FLOAT})
            and len(set(tags.get(_BITS, ()))) == 1
            and tags.get(_SAMPLES, 1) in samples.get(tags.get(_PHOTOMETRIC, -1), ())
            and tags.get(_PLANAR, 1) in (_CONTIGUOUS, _PLANES)
            and tags.get(_PREDICTOR, 1) == 1
            and tags.get(_COMPRESSION, 1) in _UNCOMPRESSED + _DEFLATE
            and {_OFFSETS, _COUNTS} <= tags.keys()
            and self._bytes() <= _MOST_BYTES
        )

    def _bytes(self) -> int:
        return self.width * self.height * int(self.tag_v2.get(_SAMPLES, 1)) * int(self.tag_v2[_BITS][0]) // 8

    def _decoded(self) -> Image.Image:
        import numpy as np  # here: the web tier opens images, and decodes only few

        order = "<" if self.tag_v2.prefix == b"II" else ">"
        letter = "f" if _FLOAT in self.tag_v2.get(_SAMPLE_FORMAT, ()) else "u"
        values = np.frombuffer(self._unpacked(), f"{order}{letter}{self.tag_v2[_BITS][0] // 8}")
        if self.mode == "F":
            return Image.fromarray(values.reshape(self.height, self.width).astype(np.float32))
        if self.tag_v2.get(_PLANAR, 1) == _PLANES:
            colours = np.moveaxis(values.reshape(-1, self.height, self.width), 0, 2)
        else:
            colours = values.reshape(self.height, self.width, -1)
        return Image.fromarray(self._eight_bits(colours[:, :, :3]))

    def _eight_bits(self, colours: NDArray[Any]) -> NDArray[np.uint8]:
        import numpy as np

        def part(top: int) -> NDArray[np.float32]:
            values = colours[top : top + _ROWS].astype(np.float32)
            return np.nan_to_num(values, copy=False, posinf=1.0, neginf=0.0)

        tops = range(0, self.height, _ROWS)
        white = self._white(max(float(part(top).max()) for top in tops))
        out = np.empty(colours.shape, np.uint8)
        for top in tops:
            out[top : top + _ROWS] = np.rint(part(top).clip(0, white) * (255 / white))
        return out

    def _white(self, brightest: float) -> float:
        if _FLOAT in self.tag_v2.get(_SAMPLE_FORMAT, ()):
            return max(1.0, brightest)
        return levels.white(brightest, self) if self.tag_v2[_BITS][0] == 16 else 2.0**32 - 1

    def _unpacked(self) -> bytes:
        file, pixels = cast(IO[bytes], self.fp), bytearray()
        packed = self.tag_v2.get(_COMPRESSION, 1) in _DEFLATE
        for offset, count in zip(self.tag_v2[_OFFSETS], self.tag_v2[_COUNTS], strict=True):
            left = self._bytes() - len(pixels)
            if not left:
                break
            file.seek(offset)
            strip = file.read(count)
            pixels += zlib.decompressobj().decompress(strip, left) if packed else strip[:left]
        return bytes(pixels)


def _is_tiff(head: bytes) -> bool:
    return head.startswith(_SIGNATURES)


Image.register_open(NAME, DeepTiff, _is_tiff)
TiffImagePlugin.OPEN_INFO.update(_WHITE_IS_ZERO_MODES)
