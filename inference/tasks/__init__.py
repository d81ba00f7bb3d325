"""What a model is asked, one file a task. Each file has the two functions of Task."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from inference.answer import Answer, Decoded
from inference.model import Model


class Task(Protocol):
    """How bytes become a model's input, and its output an answer. Both functions may be called by many threads."""

    def decode(self, model: Model, payload: bytes, max_pixels: int) -> Decoded:
        """An image's bytes as the model's input. Raises BadImage."""

    def read(self, model: Model, outputs: Sequence[NDArray[np.float32]], decoded: Decoded) -> Answer:
        """What the model says. Each of its outputs is [rows, ...] with the rows that `decoded` has.

        `decoded` may have no rows: then nothing is to be read of the outputs.
        """


def by_name(name: str) -> Task:
    """The task in the file of that name; it comes from a model's file, never from a request."""
    return cast(Task, importlib.import_module(f"inference.tasks.{name}"))
