"""The tasks of models, a file each. Each file has the two functions of Task."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from inference.answer import Answer, Decoded
from inference.model import Model


class Task(Protocol):
    """Makes a model's input from bytes, and an answer from its output. Many threads may call both functions."""

    def decode(self, model: Model, payload: bytes, max_pixels: int) -> Decoded:
        """Turn an image's bytes into the model's input. Raises BadImage."""

    def read(self, model: Model, outputs: Sequence[NDArray[np.float32]], decoded: Decoded) -> Answer:
        """Turn the model's outputs, each [rows, ...] with the rows of `decoded`, into an answer.

        If `decoded` has no rows, `outputs` may be empty.
        """


def by_name(name: str) -> Task:
    """The task of that name. The name comes from a model's file, never from a request."""
    return cast(Task, importlib.import_module(f"inference.tasks.{name}"))
