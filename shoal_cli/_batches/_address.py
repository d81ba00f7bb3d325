"""The option --url: the address of a Shoal as people type it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from shoal.errors import Permanent
from shoal_cli._accounts._chosen_key import key_option

F = TypeVar("F", bound=Callable[..., Any])

MADE = "The address of Shoal; when not given, that of the Shoal in the state folder, else SHOAL_HOST and SHOAL_PORT."
FOR_OTHERS = "The address of Shoal, if the batch was not sent from here."


def url_option(words: str) -> Callable[[F], F]:
    """Give a command the option --url, whose value is a whole address or None, and --key. words: the help of --url."""
    url = click.option("--url", help=words, callback=lambda _, __, value: value and whole_address(value))

    def both(command: F) -> F:
        return url(key_option()(command))

    return both


def whole_address(text: str) -> str:
    """The address with its scheme, http:// when it has none, without a slash at its end.

    Raises Permanent for a scheme other than http and https.
    """
    scheme, found, rest = text.rpartition("://")
    if found and scheme.lower() not in ("http", "https"):
        raise Permanent(f"{text} begins with {scheme}://: Shoal answers at http:// and https:// addresses")
    if not re.match(r"[^/?#]", rest):
        raise Permanent(f"{text!r} is not an address: give one such as http://127.0.0.1:8000")
    return f"{scheme or 'http'}://{rest}".rstrip("/")
