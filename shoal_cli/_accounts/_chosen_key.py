"""The option --key, and the key that a command sends: that of --key, else SHOAL_API_KEY."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from shoal import settings
from shoal.errors import Permanent

F = TypeVar("F", bound=Callable[..., Any])

_GIVEN = "shoal_cli.key"
LONGEST = 1_000  # characters of a file with a key


def key_option() -> Callable[[F], F]:
    """Give a command the option --key. It names a file: an argument would be seen in the list of processes."""

    def read(context: click.Context, _: click.Parameter, file: str | None) -> None:
        if file is not None:
            context.meta[_GIVEN] = _read(file)

    return click.option(
        "--key",
        metavar="FILE",
        callback=read,
        expose_value=False,
        help="A file with an API key, - for standard input; without it SHOAL_API_KEY counts.",
    )


def given_key() -> str:
    """The key of --key; empty without it."""
    context = click.get_current_context(silent=True)
    return str(context.meta.get(_GIVEN, "")) if context else ""


def chosen_key() -> str:
    """The key to send to a Shoal; empty for none."""
    return given_key() or settings.load().api_key


def _read(file: str) -> str:
    try:
        with sys.stdin if file == "-" else Path(file).open() as opened:
            key = opened.read(LONGEST).strip()
    except (OSError, ValueError) as error:
        raise Permanent(f"the key cannot be read from {file}: {error}") from None
    if not key.isascii() or not key.isprintable() or not key:
        raise Permanent(f"there is no API key in {file}: it holds the line that `shoal keys add` printed")
    return key
