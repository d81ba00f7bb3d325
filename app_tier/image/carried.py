"""Models on their way from where they were prepared into an image: the same files there, and the same answers?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference import process, store
from inference.arithmetic import FLOAT32, INT8
from inference.head import CutHead
from inference.split import point
from shoal.errors import NotFound, Permanent
from shoal.messages import Job, new_batch
from shoal.settings import Settings

NOTE = "answers.json"
PHOTOS, ACTIVATIONS = "photos", "activations"  # in the folder that is carried
LEAST_SAME = 0.9  # of the best labels: int8 rounds a little differently on other kinds of CPU

Answers = Mapping[str, str]
"""The name of a photo -> its best label, or why there is none."""


@dataclass(frozen=True, slots=True)
class Carried:
    """What was answered at home. models: the default first. answers: "<model or tail> <arithmetic>" -> answers."""

    engine: str
    models: Sequence[str]
    answers: Mapping[str, Answers]
    tails: Sequence[str] = ()

    def write(self, folder: Path) -> None:
        """Write it into the folder that is carried."""
        fields = {
            "engine": self.engine, "models": list(self.models), "answers": self.answers, "tails": list(self.tails),
        }  # fmt: skip
        (folder / NOTE).write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Carried:
        """Raises Permanent when there is none."""
        try:
            fields = json.loads((folder / NOTE).read_text())
            return cls(str(fields["engine"]), fields["models"], fields["answers"], fields["tails"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Permanent(f"{folder / NOTE} cannot be read: make it again with ami/pack-worker ({error})") from error


def label(settings: Settings, model: str, precision: str, photos: Sequence[Path]) -> Answers:
    """The best label of each photo. precision: "float32", "int8", or "auto" for what was chosen on this kind of CPU.

    Raises NotFound if the model is not prepared so.
    """
    recogniser = process.load(
        [model], settings.engine, settings.cache_dir, None, settings.max_pixels, settings.max_file_bytes,
        precision=precision,
    )  # fmt: skip
    answers = {}
    for photo in photos:
        job = Job(new_batch(0), 0, photo.name, "", model)
        result = process.process(recogniser, job, photo.read_bytes())
        names = [one.name for one in result.labels] or [one.name for one in result.detections]
        best = next(iter(names), "")
        answers[photo.name] = best or result.error
    return answers


def inputs(folder: Path, name: str) -> list[Path]:
    """What a model labels in the folder that is carried: photos; what a tail labels: their activations."""
    if point.parts_of(name):
        return sorted((folder / ACTIVATIONS / name).glob("*"))
    return sorted((folder / PHOTOS).glob("*.jpg"))


def pack(settings: Settings, tail: str, folder: Path) -> None:
    """Keep in the folder what the tail's head makes of its photos. Raises NotFound if that is not prepared."""
    model, cut = point.parts_of(tail) or (tail, "")
    head = CutHead.of(*store.find_head(model, cut, settings.engine, settings.cache_dir))
    place = folder / ACTIVATIONS / tail
    place.mkdir(parents=True)
    for photo in inputs(folder, model):
        (place / photo.name).write_bytes(head.pack(photo.read_bytes(), settings.max_pixels))


def record(settings: Settings, models: Sequence[str], tails: Sequence[str], folder: Path) -> Carried:
    """Label with each prepared model and tail, in each arithmetic of which it has files, what is in the folder."""
    answers = {}
    for name in (*models, *tails):
        for precision in (FLOAT32, INT8):
            try:
                answers[f"{name} {precision}"] = label(settings, name, precision, inputs(folder, name))
            except NotFound:
                if precision == FLOAT32:
                    raise
    return Carried(settings.engine, models, answers, tails)


def check(settings: Settings, carried: Carried, folder: Path) -> list[str]:
    """Read every byte of the carried models, and label once more what is in the folder. Returns a line for people on
    each model.

    Raises NotFound for a model that is not whole, Permanent for damaged files and other answers.
    """
    return [
        _checked(settings, *name.split(), expected=expected, folder=folder)
        for name, expected in carried.answers.items()
    ]


def _checked(settings: Settings, model: str, precision: str, *, expected: Answers, folder: Path) -> str:
    artefact = store.find(model, settings.engine, settings.cache_dir, None, precision)
    if damaged := store.damaged(artefact.folder, artefact.card):
        raise Permanent(f"{model} in {precision} was damaged on its way: {', '.join(damaged)}")
    found = label(settings, model, precision, inputs(folder, model))
    same = sum(found.get(photo) == answer for photo, answer in expected.items())
    if not expected or same < LEAST_SAME * len(expected):
        raise Permanent(
            f"{model} in {precision} labels {same} of {len(expected)} photos as it did where it was prepared"
        )
    return f"{model} in {precision} is whole and labels {same} of {len(expected)} photos as where it was prepared"
