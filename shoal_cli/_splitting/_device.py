"""The device's part of the venue `split`: it runs the head of a model on photos, and packs what comes out."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from inference import store, user_files
from inference.head import CutHead
from inference.photo_folders import readable
from inference.preparing.cutting.request import AGREEING
from inference.split import header
from inference.split.point import CutPoint, parts_of, tail_name
from inference.store import Artefact
from shoal.errors import BadImage, NotFound, Permanent
from shoal.settings import Settings

SPLIT = "split"
MARK_BYTES = 8


@dataclass
class PackedPhotos:
    """The packed activations of photos.

    photos:  those that could be opened. files: their activations, in the same order, with the names of the photos.
    refused: why the others could not be, a sentence each.
    """

    photos: list[Path] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def told(self) -> str:
        """In words, what travels instead of the photos, and which photos could not be opened."""
        photos = sum(path.stat().st_size for path in self.photos)
        sent = sum(path.stat().st_size for path in self.files)
        count = len(self.files)
        told = f"{count} activations of {sent / max(count, 1) / 1e3:.0f} KB travel"
        told += f"; the photos have {photos / max(count, 1) / 1e3:.0f} KB and stay here."
        return "\n".join([told, *(f"Not sent: {reason}" for reason in self.refused)])


@dataclass(frozen=True)
class Device:
    """The head of a cut, loaded. tail: the name under which workers serve the other part. dtype: of what travels."""

    tail: str
    head: CutHead
    max_pixels: int
    dtype: str = "uint8"

    @classmethod
    def of(cls, chosen: Settings, tail: str, model: str, cut: str, dtype: str = "uint8") -> Device:
        """Load the head of `tail`; or, if that is empty, of `model` and `cut`, whose defaults are the obvious ones.

        Raises NotFound if that head is not prepared here; Permanent if several are and none is named, or if too many
        labels changed in this type of numbers when it was prepared.
        """
        name, cut = parts_of(tail) or (model or chosen.model, cut)
        cut = cut or _only_cut(chosen, name)
        head, point = store.find_head(name, cut, chosen.engine, chosen.cache_dir)
        _check_agreement(head, cut, dtype)
        return cls(tail_name(name, cut), CutHead.of(head, point), chosen.max_pixels, dtype)

    @property
    def point(self) -> CutPoint:
        """Where the net is cut."""
        return self.head.point

    @contextmanager
    def packed(self, photos: Sequence[Path]) -> Iterator[PackedPhotos]:
        """The activations of the photos, in files that are deleted after the block."""
        found = PackedPhotos()
        with tempfile.TemporaryDirectory(prefix="shoal-split-") as place:
            for index, photo in enumerate(photos):
                try:
                    message = self.pack(user_files.read(photo, user_files.PHOTO_BYTES))
                except (BadImage, OSError) as error:
                    found.refused.append(f"{readable(photo.name)}: {error}")
                    continue
                file = Path(place) / str(index) / photo.name  # two photos may have one name
                file.parent.mkdir()
                file.write_bytes(message)
                found.photos.append(photo)
                found.files.append(file)
            if not found.files:
                raise Permanent(f"no photo could be opened: {found.refused[0]}")
            yield found

    def pack(self, payload: bytes) -> bytes:
        """The packed activation of a photo's bytes. Raises BadImage."""
        return self.head.pack(payload, self.max_pixels, self.dtype)


def _check_agreement(head: Artefact, cut: str, dtype: str) -> None:
    """Raise Permanent for numbers in which the head was not compared, or changed too many labels."""
    photos = int(head.card.agreement.get("photos", 0))
    same = head.card.agreement.get(dtype, {}).get("same_label")
    if same is None:
        raise Permanent(
            f"{cut} was never compared in {dtype}: run `shoal split prepare {head.model.name} {cut} --again`"
        )
    if same < AGREEING * photos:
        raise Permanent(f"{cut} in {dtype} gives the label of the whole net for {same} of {photos} photos alone")


def of_tails(chosen: Settings, tails: Sequence[str]) -> dict[str, Device]:
    """The devices of those tails whose heads are prepared here, by the names of the tails."""
    found = {}
    for tail in tails:
        with suppress(NotFound):
            found[tail] = Device.of(chosen, tail, "", "")
    return found


def never_sent_before(device: Device) -> Callable[[bytes], bytes]:
    """Packs a photo into bytes that nobody has sent before, for measurements."""
    return lambda payload: header.unlike_any_other(device.pack(payload), secrets.token_bytes(MARK_BYTES))


def _only_cut(chosen: Settings, model: str) -> str:
    prepared = store.heads(model, chosen.engine, chosen.cache_dir)
    if not prepared:
        raise NotFound(
            f"no head of {model} is prepared in {chosen.cache_dir}: `shoal split cuts {model}` lists its cuts, "
            f"`shoal split prepare {model} CUT` makes one"
        )
    if len(prepared) > 1:
        raise Permanent(f"several heads of {model} are prepared here, choose with --cut: {', '.join(prepared)}")
    return prepared[0]
