"""The options of a training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from inference import own
from inference.training.none_of_these import TURNED_AWAY
from inference.training.views import KINDS
from shoal import plugins
from shoal.errors import Permanent

SCRATCH_NETS = ("flat", "resnet_small")

_KEPT_TO_LEARN = 0.4  # the least share of each class to train on


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Raises Permanent if the options contradict each other.

    name:        of the new model: small letters, digits, - and _.
    backbone:    the model whose features are used; empty for a net from scratch.
    scratch_net: one of SCRATCH_NETS; empty with a backbone.
    side, grey:  for a net from scratch: the side of its input in pixels, and whether it drops colours.
    unfreeze:    the number of layers of the backbone that are trained after the head.
    epochs:      the largest number in each stage; 0 for the default of the stage.
    rate:        the learning rate when training on images; 0 for the default.
    views:       the number of altered copies of each training image for a frozen backbone, besides the image itself.
    augment:     how training images are altered, see `views.KINDS`.
    validation, test: shares of each class, if the dataset does not give these parts.
    none_of_these: the share of photos of its classes that the model may turn away, see `none_of_these`; 0 for a model
                 that always names a class.
    """

    name: str
    backbone: str = "resnet50"
    scratch_net: str = ""
    side: int = 32
    grey: bool = False
    unfreeze: int = 0
    epochs: int = 0
    rate: float = 0.0
    views: int = 2
    augment: str = "mirror"
    seed: int = 0
    validation: float = 0.15
    test: float = 0.2
    none_of_these: float = TURNED_AWAY

    def __post_init__(self) -> None:
        if not own.is_name(self.name):
            raise Permanent(f"{self.name!r} cannot be a model's name: use up to 40 of a-z, 0-9, - and _")
        if self.name in plugins.available("inference.models"):
            raise Permanent(f"{self.name} is one of Shoal's own models: choose another name")
        if bool(self.scratch_net) == bool(self.backbone):
            raise Permanent("a net is trained on a backbone or from scratch: name one of the two")
        if self.scratch_net not in ("", *SCRATCH_NETS) or self.augment not in KINDS:
            raise Permanent(f"nets from scratch: {', '.join(SCRATCH_NETS)}; augmentation: {', '.join(KINDS)}")
        if self.validation + self.test > 1 - _KEPT_TO_LEARN:
            raise Permanent(
                f"{self.validation:.0%} for validation and {self.test:.0%} for the test leave too few to learn from"
            )


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """The request to the child process, sent as JSON: a recipe, with the files and folders of this machine.

    dataset:   the folder of photos or the .npz file.
    cache_dir: has the backbone.
    scratch:   an empty folder; the child writes the new model into `model` in it, then the report into `report`.
    kept:      the file that keeps features for the next training.
    max_pixels, max_bytes: larger images are skipped.
    command:   for the report: how the training was asked for.
    """

    recipe: Recipe
    dataset: Path
    engine: str
    cache_dir: Path
    scratch: Path
    kept: Path
    max_pixels: int
    max_bytes: int
    command: str = ""

    @property
    def made(self) -> Path:
        """The folder of the new model."""
        return self.scratch / "model"

    @property
    def report(self) -> Path:
        """The folder of the report, until it is moved into the model's."""
        return self.scratch / "report"

    def to_json(self) -> str:
        """As text for the command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> TrainingRequest:
        """From the text of the command line."""
        fields = json.loads(text)
        fields["recipe"] = Recipe(**fields["recipe"])
        paths = {name: Path(fields[name]) for name in ("dataset", "cache_dir", "scratch", "kept")}
        return cls(**{**fields, **paths})
