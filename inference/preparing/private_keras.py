"""The functions of Keras outside its public API that Shoal uses, all of them, and a check that they did not change.

Keras does not publish the address and the hash of a model's weights, nor the folder of its own cache.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shoal.errors import Permanent
from shoal.folders import install_packages

_CONFIG, _FILES = "keras.src.backend.config", "keras.src.utils.file_utils"

PrivateFunction = tuple[str, str, tuple[str, ...]]
"""The module, the name in it, and the first parameters that the function must have."""

PRIVATE_FUNCTIONS: tuple[PrivateFunction, ...] = (
    (_CONFIG, "keras_home", ()),
    (_FILES, "get_file", ("fname", "origin")),
)


def check(functions: Iterable[PrivateFunction] = PRIVATE_FUNCTIONS) -> None:
    """Raise Permanent if the installed Keras lacks one of the functions, or if its parameters changed."""
    for module, name, expected in functions:
        try:
            found = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            raise Permanent(f"this version of Keras has no {module}.{name} any more: {install_packages()}") from None
        parameters = tuple(inspect.signature(found).parameters)
        if parameters[: len(expected)] != expected:
            raise Permanent(f"{module}.{name} of this version of Keras takes {parameters}, not first {expected}")


def home() -> Path:
    """The folder in which Keras keeps what it fetched."""
    check()
    from keras.src.backend.config import keras_home

    return Path(keras_home())


@contextmanager
def replaced_get_file(stand_in: Callable[..., Any]) -> Iterator[None]:
    """Let keras.applications call `stand_in` where it would fetch a file."""
    check()
    from keras.src.utils import file_utils

    original, file_utils.get_file = file_utils.get_file, stand_in
    try:
        yield
    finally:
        file_utils.get_file = original
