"""Find an object by a name or by "module:attribute": policies, engines, models, venues, commands.

Use it for names from the operator only. Look up a name from a request in an allow-list instead.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Collection
from typing import Any

from shoal.errors import SettingsError


def load(name: str, package: str, attribute: str) -> Any:
    """Return `attribute` of the file `name` in `package`, or the object that "module:attribute" names.

    Raises SettingsError, which lists the known names.
    """
    module, colon, own_attribute = name.partition(":")
    if not colon:
        known = available(package)
        if name not in known:
            kind = package.rpartition(".")[2]
            told = f"{name!r} is not one of the {kind}: {', '.join(known)} (or module:attribute)"
            raise SettingsError(". ".join(filter(None, (told, meant(name, known)))))
        module, own_attribute = f"{package}.{name}", attribute
    try:
        return getattr(importlib.import_module(module), own_attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{name!r} cannot be loaded: {error}") from error


def meant(name: str, known: Collection[str]) -> str:
    """A question that names what was meant by a misspelt name, at most three; empty when none is like it."""
    close = difflib.get_close_matches(name.lower(), known)
    return f"Did you mean {' or '.join(close)}?" if close else ""


def available(package: str) -> list[str]:
    """The names of the files in `package`; names that begin with "_" are left out."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))
