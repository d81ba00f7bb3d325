"""Replacing functions of moto, and noticing when another version has moved them."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from local_cloud import CloudError

Function = Callable[..., Any]
Point = tuple[Any, str, tuple[str, ...]]
"""What is replaced: the owner, the name, and the parameters it must still have."""


class HookPointMoved(CloudError):
    """This version of moto is not the one that the hooks were written for; the text says what differs."""


def check(points: Iterable[Point]) -> None:
    """Raises HookPointMoved. Only before anything is replaced."""
    for owner, name, expected in points:
        found = getattr(owner, name, None)
        if found is None:
            raise HookPointMoved(f"moto has no {owner.__name__}.{name} any more")
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != expected:
            raise HookPointMoved(f"moto's {owner.__name__}.{name} takes {parameters} instead of {expected}")


def replace(owner: Any, name: str, wrap: Callable[[Function], Function]) -> None:
    """Put `wrap(original)` in the place of the original."""
    original = getattr(owner, name)
    setattr(owner, name, functools.wraps(original)(wrap(original)))
