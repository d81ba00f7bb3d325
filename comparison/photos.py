"""The photos to compare with: as they are or resized, and sets of a given number made from the photos at hand."""

from __future__ import annotations

import io
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from comparison.measurement import AS_IT_IS, RESIZED, Lane, Size
from shoal.errors import Permanent

SETS = {"small": 296, "medium": 2_070, "big": 4_913}  # as many as the published comparison had
SHORT_SIDE = 256  # models look at 224 or 300 pixels, so the labels hardly change
QUALITY = 85
_MARK_BYTES = 12
_JFIF = b"JFIF\0\x01\x02\0\0\x01\0\x01\0\0"  # version 1.2, square pixels, no thumbnail
_UNREADABLE = (OSError, ValueError, SyntaxError, Image.DecompressionBombError)  # what Pillow raises for odd files


@dataclass(frozen=True, slots=True)
class ComparedPhoto:
    """name: as the report names it. path: the file. flipped, quality: how a photo of a set is made from the file."""

    name: str
    path: Path
    flipped: bool = False
    quality: int = 0


def as_they_are(paths: Sequence[Path]) -> list[ComparedPhoto]:
    """The files themselves; of equal names all but the first get a number."""
    seen: dict[str, int] = {}
    photos = []
    for path in paths:
        number = seen[path.name] = seen.get(path.name, 0) + 1
        photos.append(ComparedPhoto(path.name if number == 1 else f"{path.name} ({number})", path))
    return photos


def made_from(paths: Sequence[Path], number: int) -> list[ComparedPhoto]:
    """As many photos as asked, of the files in turn. After its first use a file is mirrored and saved anew."""
    photos = []
    for at in range(number):
        use, path = at // len(paths), paths[at % len(paths)]
        changed = ComparedPhoto(
            f"{at:05d}_{path.name}", path, flipped=use % 2 == 1, quality=95 - use % 30 if use else 0
        )
        photos.append(changed)
    return photos


class PreparedPhotos:
    """Photos in both sizes, made before anything is measured and kept in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[tuple[str, Size], Path] = {}

    def add(self, photo: ComparedPhoto, sizes: Sequence[Size]) -> None:
        """Make a photo in these sizes. Raises what Pillow raises for a file that cannot be read or is no picture."""
        made: dict[tuple[str, Size], Path] = {}
        for size in sizes:
            if size == AS_IT_IS and not photo.quality:
                with photo.path.open("rb"):
                    made[photo.name, size] = photo.path
            else:
                file = self._folder / f"{len(self._files) + len(made)}.jpg"
                file.write_bytes(_changed(photo, size))
                made[photo.name, size] = file
        self._files |= made

    def names(self) -> list[str]:
        """The names of the photos, in the order in which they were added."""
        return list(dict.fromkeys(name for name, _ in self._files))

    def file(self, name: str) -> Path:
        """The file of a photo that was added, as it is."""
        return self._files[name, AS_IT_IS]

    def lane_content(self, name: str, lane: Lane) -> bytes:
        """The bytes that a lane sends of a photo that was added."""
        return self._files[name, lane.size].read_bytes()


def _changed(photo: ComparedPhoto, size: Size) -> bytes:
    with Image.open(photo.path) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    if photo.flipped:
        upright = ImageOps.mirror(upright)
    if size != AS_IT_IS:
        upright = _shrunk(upright)
    body = io.BytesIO()
    upright.save(body, "JPEG", quality=photo.quality or QUALITY)
    return body.getvalue()


def prepare(photos: Sequence[ComparedPhoto], folder: Path) -> tuple[PreparedPhotos, list[str]]:
    """Make the photos in both sizes in `folder`; and the names of those that cannot be resized, which are left out.

    Raises Permanent when none is left.
    """
    prepared, left_out = PreparedPhotos(folder), list[str]()
    sizes: tuple[Size, ...] = (AS_IT_IS, RESIZED)
    for photo in photos:
        try:
            prepared.add(photo, sizes)
        except _UNREADABLE:
            left_out.append(photo.name)
    if not prepared.names():
        raise Permanent("none of these files is a photo that can be resized, so there is nothing to compare")
    return prepared, left_out


def resized(path: Path) -> bytes:
    """A photo as it is sent resized. Raises what Pillow raises for a file that cannot be read or is no picture."""
    return _changed(ComparedPhoto(path.name, path), RESIZED)


def unlike_any_other(content: bytes) -> bytes:
    """The same picture as bytes that nobody has sent before: workers remember the answer to the same bytes.

    A JPEG gets a second JFIF segment with more in it than it needs (ITU-T T.871, 10.1), for comments are taken out
    before a photo is stored. Other formats get bytes after their end, which readers ignore, and which may be taken out.
    """
    mark = secrets.token_hex(_MARK_BYTES // 2).encode()
    if content.startswith(b"\xff\xd8\xff"):
        segment = _JFIF + mark
        return content[:2] + b"\xff\xe0" + (len(segment) + 2).to_bytes(2, "big") + segment + content[2:]
    return content + mark


def _shrunk(picture: Image.Image) -> Image.Image:
    """The picture with a short side of SHORT_SIDE; as it is when that is not smaller."""
    factor = SHORT_SIDE / min(picture.size)
    if factor >= 1:
        return picture
    width, height = (max(1, round(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
