"""Reads TIFFs of floating-point colours, not compressed or with deflate, which Pillow does not read.

A format of Pillow's of its own. Libraries for such files set no limit on what compressed data unpack to.
"""

from __future__ import annotations

import zlib
from typing import IO, Any, cast

from PIL import Image, ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2

NAME = "FLOAT_TIFF"

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS, _SAMPLES = 256, 257, 258, 259, 262, 273, 277
_COUNTS, _PLANAR, _PREDICTOR, _SAMPLE_FORMAT = 279, 284, 317, 339
_FLOAT, _RGB = 3, 2
_UNCOMPRESSED, _DEFLATE = (1,), (8, 32_946)
_MOST_BYTES = 200 * 1024 * 1024  # unpacked: 16 megapixels of 32 bits
_SIGNATURES = (b"II*\0", b"MM\0*")


class FloatTiff(ImageFile.ImageFile):
    """An RGB image of floats: 0 is black and 1 is white, or the largest value if there are larger ones."""

    format = "TIFF"
    format_description = "TIFF of floating-point colours"

    def _open(self) -> None:
        file = cast(IO[bytes], self.fp)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        self.tag_v2 = tags
        self._size = (int(tags[_WIDTH]), int(tags[_HEIGHT]))
        self._mode = "RGB"
        if not self._is_readable():
            raise SyntaxError("not a TIFF of floating-point colours that is read here")
        self.tile = [ImageFile._Tile(NAME, (0, 0, *self._size), 0, None)]

    def load(self) -> Any:
        """Decode the pixels. Raises ValueError for a file that is cut short."""
        if self.tile:
            self.im = self._decoded().im
            self.tile = []
        return Image.Image.load(self)

    def _is_readable(self) -> bool:
        tags: dict[int, Any] = dict(self.tag_v2)
        return (
            set(tags.get(_SAMPLE_FORMAT, ())) == {_FLOAT}
            and len(set(tags.get(_BITS, ()))) == 1
            and tags[_BITS][0] in (16, 32, 64)
            and tags.get(_PHOTOMETRIC) == _RGB
            and tags.get(_SAMPLES, 0) in (3, 4)
            and tags.get(_PLANAR, 1) == 1
            and tags.get(_PREDICTOR, 1) == 1
            and tags.get(_COMPRESSION, 1) in _UNCOMPRESSED + _DEFLATE
            and {_OFFSETS, _COUNTS} <= tags.keys()
            and self._bytes() <= _MOST_BYTES
        )

    def _bytes(self) -> int:
        return self.width * self.height * int(self.tag_v2[_SAMPLES]) * int(self.tag_v2[_BITS][0]) // 8

    def _decoded(self) -> Image.Image:
        import numpy as np  # here: the web tier opens images, and decodes only few

        order = "<" if self.tag_v2.prefix == b"II" else ">"
        kind = f"{order}f{self.tag_v2[_BITS][0] // 8}"
        values = np.frombuffer(self._unpacked(), kind).astype(np.float32)
        colours = np.nan_to_num(values.reshape(self.height, self.width, -1)[:, :, :3], posinf=1.0, neginf=0.0)
        white = max(1.0, float(colours.max()))
        return Image.fromarray(np.rint(colours.clip(0, white) * (255 / white)).astype(np.uint8))

    def _unpacked(self) -> bytes:
        file, pixels = cast(IO[bytes], self.fp), bytearray()
        packed = self.tag_v2.get(_COMPRESSION, 1) in _DEFLATE
        for offset, count in zip(self.tag_v2[_OFFSETS], self.tag_v2[_COUNTS], strict=True):
            file.seek(offset)
            strip = file.read(count)
            left = self._bytes() - len(pixels)
            pixels += zlib.decompressobj().decompress(strip, left) if packed and left else strip[:left]
        return bytes(pixels)


def _is_tiff(head: bytes) -> bool:
    return head.startswith(_SIGNATURES)


Image.register_open(NAME, FloatTiff, _is_tiff)
