"""Finds prepared models in the cache folder, in a few milliseconds, and verifies them.

    <cache>/models/<model>/                    weights from the model's own sources
    <cache>/models/<model>@<8 digits>/         weights from the user's file; the digits are a hash of its path
        weights/weights.weights.h5, card.json  the stock Keras model's weights, as fetched and verified
        weights/<file>, ..., card.json         instead, of a model that names its engine: the files of its source
        <engine>/..., card.json                the files that the engine loads, made from those weights, in float32
        <engine>-int8/..., card.json           the same in 8-bit integers, made by `shoal models quantize`
        model.json, labels.csv                 of a model that is not in inference/models, see `inference.own`
        <engine>-measured.json                 the arithmetic chosen on each kind of CPU, see `inference.measured`
        stand_in.json                          instead of all that: the model that labels instead, and the reason
        cuts/<layer>/head/<engine>/..., card.json, cut.json    the net up to that layer, for the user's device
        cuts/<layer>/tail/<engine>/..., card.json, cut.json    the rest, for workers; its model is named <model>.<layer>
        cuts/<layer>/head/browser/..., card.json, cut.json     the head as browsers run it, compressed by gzip
    <cache>/browser/<model>/..., card.json     a model as browsers run it, compressed by gzip
    <cache>/browser/onnxruntime-web/..., card.json    the program that runs it there
    <cache>/models/<...>.lock                  held by the process that prepares the model

A folder with a card is complete: it is written under a name that starts with a dot, and renamed at the end.
`inference/preparing/prepare.py` fills the cache.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from inference import measured, own
from inference import model as models
from inference.arithmetic import FLOAT32, INT8
from inference.measured import Measurements
from inference.model import Model
from inference.split import point
from shoal import plugins
from shoal.errors import NotFound, SettingsError

FORMAT = 1
CARD = "card.json"
WEIGHTS = "weights"
WEIGHTS_FILE = "weights.weights.h5"
STAND_IN = "stand_in.json"
CUTS = "cuts"
HEAD, TAIL = PARTS = ("head", "tail")
BROWSER = "browser"
BROWSER_PROGRAM = "onnxruntime-web"
BROWSER_MODEL = "mobilenet_v2"  # small enough to be fetched by a browser, and right often enough
TAIL_TASKS = {"classify": "tail", "classify_whole": "tail", "emotion": "face_tail"}  # of a whole model -> of its tail

PRECISIONS = ("auto", FLOAT32, INT8)

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class File:
    """A file's size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Card:
    """The origin and the content of a folder of the cache.

    model, engine: whose files these are; the engine of a weights folder is "weights".
    source, checksum, licence: of the weights.
    files:      name -> size and checksum of every file of the folder except the card.
    versions:   package -> version with which the folder was made.
    agreement:  with the stock Keras model on real photos, see `inference.preparing.agreement`; empty for weights.
    made_at:    ISO 8601, UTC.
    own_file:   size and time of change (nanoseconds) of the user's weights file; empty without one.
    precision:  of the weights: "int8" or "float32". Those in float32 can also be computed with in bfloat16.
    quantized:  for int8, its calibration and agreement, see `inference.preparing.choosing`.
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
        """The sum of the sizes of its files, in bytes."""
        return sum(file.size for file in self.files.values())

    @property
    def version(self) -> str:
        """A checksum of the files' checksums, 12 hexadecimal digits: it differs when one of the files does."""
        digests = "".join(f"{name} {file.sha256}\n" for name, file in sorted(self.files.items()))
        return hashlib.sha256(digests.encode()).hexdigest()[:12]

    def write(self, folder: Path) -> None:
        """Write the card into the folder that it describes."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, ensure_ascii=False)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """The card of a folder, or None if this version cannot read one there."""
        try:
            fields = json.loads((folder / CARD).read_text(encoding="utf-8"))
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

    notice:    tells people that this model stands in for the one that was asked for; empty if it does not.
    precision: the arithmetic in which it is to compute: "float32", "bfloat16" or "int8".
    """

    model: Model
    engine: str
    folder: Path
    card: Card
    notice: str = ""
    precision: str = FLOAT32

    @property
    def measured(self) -> Measurements | None:
        """What was measured of the model's arithmetics, or None."""
        return measured.read(self.folder.parent, self.engine, self.card.checksum)


def model_folder(model: Model, cache_dir: Path, weights: Path | None) -> Path:
    """The model's folder in the cache; of a tail, the folder of its part."""
    if model.cut:
        return part_folder(model.cut.model, model.cut.cut, TAIL, cache_dir)
    if weights is None:
        return cache_dir / "models" / model.name
    digits = hashlib.sha256(str(weights.resolve()).encode()).hexdigest()[:8]
    return cache_dir / "models" / f"{model.name}@{digits}"


def browser_folder(name: str, cache_dir: Path) -> Path:
    """The folder of what browsers run: a model, or the program that runs it."""
    return cache_dir / BROWSER / name


def part_folder(model: str, cut: str, part: str, cache_dir: Path) -> Path:
    """The folder of the head or the tail of a cut."""
    return cache_dir / "models" / model / CUTS / cut / part


def model(name: str, cache_dir: Path) -> Model:
    """The model of that name in `inference/models`, of "module:attribute", described in the cache, or a tail.

    Raises NotFound for a name that may be one of keras.applications and was not prepared, and for a tail that was not,
    SettingsError for any other.
    """
    if parts := point.parts_of(name):
        return _tail(*parts, cache_dir)
    known = plugins.available("inference.models")
    if name in known or not own.is_name(name):
        return models.by_name(name)
    found = own.find(name, cache_dir)
    if found is None:
        told = (
            f"the model {name} is none of {', '.join(known)}, nor in {cache_dir}: run `shoal models prepare` if it is "
            "one of keras.applications, `shoal models add` or `shoal train` if it is your own"
        )
        question = plugins.meant(name, [*known, *own.names(cache_dir)])
        raise NotFound(". ".join(filter(None, (told, question))))
    return found


def _tail(name: str, cut: str, cache_dir: Path) -> Model:
    """The tail as a model: its input is an activation in the place of a photo. Raises NotFound."""
    whole = model(name, cache_dir)
    folders = part_folder(name, cut, TAIL, cache_dir).glob(f"[!.]*/{point.FILE}") if point.is_folder(cut) else ()
    described = next((found for one in sorted(folders) if (found := point.read(one.parent))), None)
    if described is None:
        raise NotFound(_not_prepared(name, cut, TAIL, cache_dir))
    title = f"{whole.title} behind {cut}"
    task = TAIL_TASKS.get(whole.task, "tail")
    return replace(whole, name=point.tail_name(name, cut), title=title, task=task, cut=described, stand_in="")


def find_head(name: str, cut: str, engine: str, cache_dir: Path) -> tuple[Artefact, point.CutPoint]:
    """The prepared head of a cut, and what it sends. Raises NotFound, whose text names the command to run."""
    whole = model(name, cache_dir)
    if point.is_folder(cut):
        place = part_folder(name, cut, HEAD, cache_dir) / engine
        card, described = ready(place), point.read(place)
        if card and described:
            return Artefact(whole, engine, place, card), described
    raise NotFound(_not_prepared(name, cut, HEAD, cache_dir))


def browser_head(tail: str, cache_dir: Path) -> tuple[Artefact, point.CutPoint] | None:
    """The head of that tail as browsers run it, and what it sends; None if it is not prepared."""
    parts = point.parts_of(tail)
    try:
        return find_head(*parts, BROWSER, cache_dir) if parts else None
    except (NotFound, SettingsError):
        return None


def heads(name: str, engine: str, cache_dir: Path) -> list[str]:
    """The cuts of a model whose heads are prepared for the engine, sorted by name."""
    found = part_folder(name, "*", HEAD, cache_dir).relative_to(cache_dir) / engine / CARD
    return sorted(path.parents[2].name for path in cache_dir.glob(str(found)) if ready(path.parent))


def _not_prepared(name: str, cut: str, part: str, cache_dir: Path) -> str:
    return (
        f"the {part} of {name} cut at {cut[:60]} is not in {cache_dir}, or not whole: run `shoal split prepare {name} "
        f"{cut[:60]}`"
    )


def folder(engine: str, precision: str) -> str:
    """The name of the folder of an engine's files."""
    return f"{engine}-{INT8}" if precision == INT8 else engine


def find(
    name: str, engine: str, cache_dir: Path, weights: Path | None = None, precision: str = PRECISIONS[0]
) -> Artefact:
    """Find a prepared model and check that its files are there with their sizes.

    engine:    runs the model, unless the model names its own.
    precision: "float32", "int8", or "auto" for the arithmetic that was chosen on this kind of CPU. Without a choice it
               is int8 if that was made, else float32.

    Returns the stand-in if the model has one. Raises NotFound, whose text names the command to run.
    """
    wanted = model(name, cache_dir)
    engine = wanted.engine or engine
    home = model_folder(wanted, cache_dir, weights)
    kinds = (INT8, FLOAT32) if precision == "auto" else (precision,)
    folders = [(one, home / folder(engine, one)) for one in kinds]
    found = [
        Artefact(wanted, engine, place, card, precision=one)
        for one, place in folders
        if (card := ready(place, weights))
    ]
    if found:
        return found[0] if precision != "auto" else _chosen_of(found)
    stand_in = read_stand_in(home)
    if wanted.cut:
        raise NotFound(_not_prepared(wanted.cut.model, wanted.cut.cut, TAIL, cache_dir))
    if stand_in is None:
        command = "quantize" if precision == INT8 else "prepare"
        raise NotFound(f"{name} for {engine} is not in {cache_dir}, or not whole: run `shoal models {command}`")
    instead = find(stand_in["model"], engine, cache_dir, precision=precision)
    return replace(instead, notice=notice(wanted, instead.model, stand_in["why"]))


def _chosen_of(artefacts: Sequence[Artefact]) -> Artefact:
    """The artefact with the arithmetic that was chosen on this kind of CPU; the first if there is no such choice."""
    known = artefacts[0].measured
    here = known and known.here()
    if not here:
        return artefacts[0]
    wanted = folder(artefacts[0].engine, here.chosen)
    return next((replace(one, precision=here.chosen) for one in artefacts if one.folder.name == wanted), artefacts[0])


def seconds_a_photo(artefact: Artefact) -> float | None:
    """Seconds that a worker on this kind of CPU computes for a photo in the artefact's arithmetic; None if unknown."""
    known = artefact.measured
    here = known and known.here()
    rate = here and here.measured.get(artefact.precision)
    return 1 / rate.images_per_second if rate and rate.images_per_second > 0 else None


def notice(wanted: Model, instead: Model, why: str) -> str:
    """The text that tells people that a model stands in for another."""
    return f"this is {instead.title}, not {wanted.title}, whose weights are not available ({why}); it makes more errors"


def ready(folder: Path, weights: Path | None = None) -> Card | None:
    """The card of a folder that is complete and made from the present content of `weights`; else None."""
    card = Card.read(folder)
    if card is None or (weights is not None and card.own_file != fingerprint(weights)):
        return None
    whole = all(size_of(folder / name) == file.size for name, file in card.files.items())
    return card if whole else None


def damaged(folder: Path, card: Card) -> list[str]:
    """The names of the files that differ from the card. Reads every byte."""
    return [name for name, file in card.files.items() if not _same(folder / name, file)]


def put_in_place(folder: Path, target: Path) -> None:
    """Rename a finished folder to `target`. An older `target` is moved beside `folder`, under another name."""
    if target.exists():
        target.rename(folder.with_name(f"{folder.name}.old"))
    folder.rename(target)


def prepared(cache_dir: Path) -> Iterator[tuple[Path, Card]]:
    """Every complete folder of the cache with its card, weights included, sorted by name."""
    for path in sorted((cache_dir / "models").glob(f"*/[!.]*/{CARD}")):
        card = ready(path.parent)
        if card is not None:
            yield path.parent, card


def measurements(cache_dir: Path) -> Iterator[tuple[Path, str, Measurements]]:
    """What is kept for each model's folder and engine, sorted by name."""
    seen = set()
    for path, card in prepared(cache_dir):
        home = path.parent
        known = measured.read(home, card.engine, card.checksum)
        if known and (home, card.engine) not in seen:
            seen.add((home, card.engine))
            yield home, card.engine, known


def read_stand_in(home: Path) -> dict[str, str] | None:
    """{"model", "why"} of the stand-in that is recorded in a model's folder, or None."""
    try:
        found = json.loads((home / STAND_IN).read_text())
        return {"model": str(found["model"]), "why": str(found["why"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def stand_ins(cache_dir: Path) -> Iterator[tuple[Path, dict[str, str]]]:
    """Every model's folder that records a stand-in, with what `read_stand_in` gives."""
    for path in sorted((cache_dir / "models").glob(f"*/{STAND_IN}")):
        found = read_stand_in(path.parent)
        if found is not None:
            yield path.parent, found


def write_stand_in(home: Path, model: str, why: str) -> None:
    """Record in a model's folder that `model` stands in for it."""
    draft = home / f".{STAND_IN}"
    draft.write_text(json.dumps({"model": model, "why": why}, indent=2, ensure_ascii=False) + "\n")
    draft.replace(home / STAND_IN)


def describe(folder: Path) -> dict[str, File]:
    """Size and checksum of every file in a folder except the card."""
    paths = (path for path in sorted(folder.iterdir()) if path.name != CARD)
    return {path.name: File(path.stat().st_size, sha256(path)) for path in paths}


def fingerprint(weights: Path) -> tuple[int, ...]:
    """Size and time of change of the user's weights file; () if it does not exist."""
    try:
        status = weights.stat()
    except OSError:
        return ()
    return (status.st_size, status.st_mtime_ns)


def size_of(path: Path) -> int:
    """The size of a file in bytes; -1 if it does not exist."""
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
