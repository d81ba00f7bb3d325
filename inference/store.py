"""Finds prepared models in the cache folder, in a few milliseconds, and verifies them.

    <cache>/models/<model>/                    weights from the model's own sources
    <cache>/models/<model>@<8 digits>/         weights from a file of the user's own, named by its path
        weights/weights.weights.h5, card.json  the stock Keras model's weights, as fetched and verified
        <engine>/..., card.json                what the engine loads, made from those weights, in float32
        <engine>-int8/..., card.json           the same in 8-bit integers, made by `shoal models quantize`
        model.json, labels.csv                 of a model that is not in inference/models, see `inference.own`
        stand_in.json                          in place of all that: which model labels instead, and why
    <cache>/models/<...>.lock                  held by the one process that prepares it

A folder with a card is whole: it was written beside, under a name that starts with a dot, and renamed.
`inference/preparing/prepare.py` fills the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inference import model as models
from inference import own
from inference.model import Model
from shoal import plugins
from shoal.errors import NotFound

FORMAT = 1
CARD = "card.json"
WEIGHTS = "weights"
WEIGHTS_FILE = "weights.weights.h5"
STAND_IN = "stand_in.json"

FLOAT32, INT8 = "float32", "int8"
PRECISIONS = ("auto", FLOAT32, INT8)

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A file's size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Card:
    """Where a folder of the cache comes from.

    model, engine: what it holds; the engine is "weights" for the weights themselves.
    source, checksum, licence: of the weights.
    files:      name -> size and checksum, every file of the folder but the card.
    versions:   package -> version that made it.
    agreement:  with the stock Keras model on real photos, see `inference.preparing.agreement`; empty for weights.
    made_at:    ISO 8601, UTC.
    own_file:   size and time of change (nanoseconds) of the user's own weights; empty for the model's own sources.
    precision:  the type of weights and arithmetic: "float32", where an engine may choose a shorter one by itself, or
                "int8".
    quantized:  of int8: what it was calibrated with, how well it agrees and how fast it is, see
                `inference.preparing.quantize`.
    """

    model: str
    engine: str
    source: str
    checksum: str
    licence: str
    files: dict[str, File]
    versions: dict[str, str]
    made_at: str
    agreement: dict[str, Any] = field(default_factory=dict)
    own_file: tuple[int, ...] = ()
    precision: str = FLOAT32
    quantized: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files.values())

    def write(self, folder: Path) -> None:
        """Put it in the folder it describes."""
        (folder / CARD).write_text(json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """The card of a folder; None when there is none that this version can read."""
        try:
            fields = json.loads((folder / CARD).read_text())
            if fields.pop("format") != FORMAT:
                return None
            fields["files"] = {name: File(**file) for name, file in fields["files"].items()}
            fields["own_file"] = tuple(fields["own_file"])
            return cls(**fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass(frozen=True, slots=True)
class Artefact:
    """A model that is ready to be loaded.

    notice: for people, when another model than the one asked for took its place; else empty.
    """

    model: Model
    engine: str
    folder: Path
    card: Card
    notice: str = ""


def place(model: Model, cache_dir: Path, weights: Path | None) -> Path:
    """The model's folder in the cache."""
    if weights is None:
        return cache_dir / "models" / model.name
    digits = hashlib.sha256(str(weights.resolve()).encode()).hexdigest()[:8]
    return cache_dir / "models" / f"{model.name}@{digits}"


def model(name: str, cache_dir: Path) -> Model:
    """The model of that name: in `inference/models`, or "module:attribute", or described in the cache.

    Raises NotFound for a name that may be one of keras.applications, which a preparation will know, and SettingsError
    for any other.
    """
    known = plugins.available("inference.models")
    if name in known or not own.is_name(name):
        return models.by_name(name)
    found = own.find(name, cache_dir)
    if found is None:
        raise NotFound(
            f"the model {name} is none of {', '.join(known)}, nor in {cache_dir}: run `shoal models prepare` if it is "
            "one of keras.applications, `shoal models add` or `shoal train` if it is your own"
        )
    return found


def folder(engine: str, precision: str) -> str:
    """The name of the folder for what an engine loads."""
    return f"{engine}-{INT8}" if precision == INT8 else engine


def find(
    name: str, engine: str, cache_dir: Path, weights: Path | None = None, precision: str = PRECISIONS[0]
) -> Artefact:
    """The prepared model, checked by the presence and the sizes of its files. Raises NotFound, which says what to do.

    precision: "auto" finds int8 where it was made, else float32.

    When the model's weights could not be had and another one stands in for it, that one is what is found.
    """
    wanted = model(name, cache_dir)
    home = place(wanted, cache_dir, weights)
    for one in (INT8, FLOAT32) if precision == "auto" else (precision,):
        card = ready(home / folder(engine, one), weights)
        if card is not None:
            return Artefact(wanted, engine, home / folder(engine, one), card)
    stand_in = read_stand_in(home)
    if stand_in is None:
        command = "quantize" if precision == INT8 else "prepare"
        raise NotFound(f"{name} for {engine} is not in {cache_dir}, or not whole: run `shoal models {command}`")
    instead = find(stand_in["model"], engine, cache_dir, precision=precision)
    return Artefact(instead.model, engine, instead.folder, instead.card, notice(wanted, instead.model, stand_in["why"]))


def notice(wanted: Model, instead: Model, why: str) -> str:
    """What to tell people when one model stands in for another."""
    return f"this is {instead.title}, not {wanted.title}, whose weights could not be had ({why}); it errs more often"


def ready(folder: Path, weights: Path | None = None) -> Card | None:
    """The card of a folder whose files are all there with their sizes, made from `weights` as they are now; or None."""
    card = Card.read(folder)
    if card is None or (weights is not None and card.own_file != fingerprint(weights)):
        return None
    whole = all(size_of(folder / name) == file.size for name, file in card.files.items())
    return card if whole else None


def damaged(folder: Path, card: Card) -> list[str]:
    """The files whose content is not what the card says. Reads every byte."""
    return [name for name, file in card.files.items() if not _same(folder / name, file)]


def put_in_place(folder: Path, target: Path) -> None:
    """Rename a finished folder to its place. What is there goes where `folder` was, under another name."""
    if target.exists():
        target.rename(folder.with_name(f"{folder.name}.old"))
    folder.rename(target)


def prepared(cache_dir: Path) -> Iterator[tuple[Path, Card]]:
    """Every whole folder of the cache with its card, weights included, by name."""
    for path in sorted((cache_dir / "models").glob(f"*/[!.]*/{CARD}")):
        card = ready(path.parent)
        if card is not None:
            yield path.parent, card


def read_stand_in(home: Path) -> dict[str, str] | None:
    """Which model labels in the place of the one whose folder this is, and why; None when none does."""
    try:
        found = json.loads((home / STAND_IN).read_text())
        return {"model": str(found["model"]), "why": str(found["why"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stand_ins(cache_dir: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Every model's folder whose place another model takes, with that model's name and the reason."""
    for path in sorted((cache_dir / "models").glob(f"*/{STAND_IN}")):
        found = read_stand_in(path.parent)
        if found is not None:
            yield path.parent, found


def write_stand_in(home: Path, model: str, why: str) -> None:
    """Let another model label in the place of the one whose folder this is."""
    draft = home / f".{STAND_IN}"
    draft.write_text(json.dumps({"model": model, "why": why}, indent=2, ensure_ascii=False) + "\n")
    draft.replace(home / STAND_IN)


def describe(folder: Path) -> dict[str, File]:
    """Size and checksum of every file in a folder, its card excepted."""
    paths = (path for path in sorted(folder.iterdir()) if path.name != CARD)
    return {path.name: File(path.stat().st_size, sha256(path)) for path in paths}


def fingerprint(weights: Path) -> tuple[int, ...]:
    """Size and time of change of the user's own weights; () when there is no such file."""
    try:
        status = weights.stat()
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns)


def size_of(path: Path) -> int:
    """Bytes of a file; -1 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _same(path: Path, file: File) -> bool:
    return size_of(path) == file.size and sha256(path) == file.sha256
