"""What the head and the tail of a cut agree on: the name of the pair, and the form of the activation between them."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from shoal.errors import MalformedMessage
from shoal.messages import is_model_name
from shoal.safe_json import array, integer, read_object, text

FILE = "cut.json"
FORMAT = 1
MOST_BYTES = 64 * 1024 * 1024  # of an activation in float32: ResNet50's largest has 3.3 MB
MOST_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class CutPoint:
    """A cut of a model with certain weights.

    model:  the name of the model that is cut.
    cut:    the name of the layer behind which it is cut.
    pair:   16 hexadecimal digits, the same for a head and a tail of the same cut of the same weights.
    shape:  of the activation of one picture, without the batch.
    """

    model: str
    cut: str
    pair: str
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """How many numbers the activation of one picture has."""
        return math.prod(self.shape)

    def write(self, folder: Path) -> None:
        """Write the description into the folder of a head or a tail."""
        (folder / FILE).write_text(json.dumps({"format": FORMAT, **asdict(self)}) + "\n")


def read(folder: Path) -> CutPoint | None:
    """The description in a folder; None if there is none that this version can read."""
    try:
        fields = read_object((folder / FILE).read_bytes(), "a description of a cut")
        if fields["format"] != FORMAT:
            return None
        shape = tuple(map(integer, array(fields, "shape")))
        return CutPoint(text(fields["model"]), text(fields["cut"]), text(fields["pair"]), shape)
    except (OSError, MalformedMessage, KeyError, TypeError, ValueError):
        return None


def pair_of(model: str, weights: str, cut: str) -> str:
    """The name of the pair. weights: their checksum, which is the same on every machine."""
    return hashlib.sha256(f"{model}\n{weights}\n{cut}".encode()).hexdigest()[:16]


def tail_name(model: str, cut: str) -> str:
    """The name under which a worker serves the tail of a cut."""
    return f"{model}.{cut}"


def is_folder(cut: str) -> bool:
    """Whether the name of a cut, which may come from anywhere, can be the name of a folder."""
    return is_model_name(cut) and cut.strip(".") != ""


def parts_of(name: str) -> tuple[str, str] | None:
    """Model and cut of the name of a tail; None for any other name. No other model has a dot in its name."""
    model, dot, cut = name.partition(".")
    return (model, cut) if dot and model and cut and ":" not in name else None
