"""What the child process that cuts is asked, and the two questions."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inference import store
from inference.arithmetic import FLOAT32, INT8
from inference.model import Model
from inference.preparing import subprocess_task
from inference.preparing.prepare import locked
from inference.preparing.sources import Say
from inference.split.point import tail_name
from inference.store import Artefact
from shoal.errors import NotFound, Permanent

AGREEING = 0.98  # of the photos: a pair that agrees with the whole net for fewer of them is not used
INT8_TAIL = "tail-int8"  # its folder in the scratch folder
_MEASURED = "measured.json"
_FORMAT = 2


@dataclass(frozen=True, slots=True)
class CutRequest:
    """The request. cut: make head and tail of it in `scratch`, for `engine`; empty to measure all cuts."""

    model: str
    cache: str
    photos: list[str]
    cut: str = ""
    engine: str = ""
    scratch: str = ""

    def ask(self, say: Say) -> dict[str, Any]:
        """Have it done by the child process. Raises its errors."""
        return subprocess_task.ask(
            "inference.preparing.cutting", json.dumps(asdict(self)), lambda fields: say(fields["say"])
        )


def measured_cuts(
    name: str, cache_dir: Path, photos: Sequence[Path], say: Say, again: bool = False
) -> list[dict[str, Any]]:
    """What `measure` finds of a model's cuts on the photos; it is kept in the cache for the same weights and photos.

    Raises NotFound if the model is not prepared, Permanent if it is no Keras net or no graph of layers.
    """
    model = store.model(name, cache_dir)
    home = store.model_folder(model, cache_dir, None)
    origin = store.ready(home / store.WEIGHTS)
    photos_hash = hashlib.sha256("".join(sorted(map(store.sha256, photos))).encode()).hexdigest()
    made_for = {"format": _FORMAT, "weights": origin.version if origin else "", "photos": photos_hash}
    file = home / store.CUTS / _MEASURED
    if not again:
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text())
            if {key: kept[key] for key in made_for} == made_for:
                return list(kept["cuts"])
    found = CutRequest(name, str(cache_dir.resolve()), _texts(photos)).ask(say)["cuts"]
    with suppress(OSError):  # a cache that cannot be written costs the time again
        file.parent.mkdir(exist_ok=True)
        draft = file.with_name(f".{file.name}")
        draft.write_text(json.dumps(made_for | {"cuts": found}) + "\n")
        draft.replace(file)
    return list(found)


def prepare_pair(
    name: str, cut: str, engine: str, cache_dir: Path, photos: Sequence[Path], say: Say, again: bool = False
) -> tuple[Artefact, Artefact]:
    """Make head and tail of a cut ready for the engine; return them. Return at once if they are ready.

    photos: to compare head and tail with the whole net before they are put in place.

    Raises NotFound if the model is not prepared, Permanent for a cut that is not legal, or a pair that does not agree.
    """
    model = store.model(name, cache_dir)
    if model.task not in store.TAIL_TASKS:
        raise Permanent(f"{model.title} is no classifier, and reads no faces: it is not run in two parts")
    with suppress(NotFound):
        if not again:
            return _found(model, cut, engine, cache_dir)
    home = store.model_folder(model, cache_dir, None)
    with locked(home, say):
        scratch = Path(tempfile.mkdtemp(prefix=".scratch-", dir=home))
        try:
            asked = CutRequest(name, str(cache_dir.resolve()), _texts(photos), cut, engine, str(scratch))
            tried = asked.ask(say)["int8"]
            if tried:
                say(_told(tried))
            made = {part: (part, engine) for part in store.PARTS}
            coarse = store.part_folder(name, cut, store.TAIL, cache_dir) / store.folder(engine, INT8)
            shutil.rmtree(coarse, ignore_errors=True)
            if tried.get("kept"):
                made[INT8_TAIL] = (store.TAIL, coarse.name)
            for source, (part, folder) in made.items():
                target = store.part_folder(name, cut, part, cache_dir) / folder
                target.parent.mkdir(parents=True, exist_ok=True)
                store.put_in_place(scratch / source, target)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return _found(model, cut, engine, cache_dir)


def _told(tried: Mapping[str, Any]) -> str:
    """What became of the tail in int8, in words."""
    rates = tried["images_per_second"]
    told = f"{tried['same_label']} of {tried['photos']} labels as in float32, {rates[INT8]} images/s against "
    return f"the tail in int8: {told}{rates[FLOAT32]}: {'kept' if tried['kept'] else 'it stays in float32'}"


def _found(model: Model, cut: str, engine: str, cache_dir: Path) -> tuple[Artefact, Artefact]:
    head, _ = store.find_head(model.name, cut, engine, cache_dir)
    return head, store.find(tail_name(model.name, cut), engine, cache_dir)


def _texts(paths: Sequence[Path]) -> list[str]:
    return [str(path.resolve()) for path in paths]
