"""A name, or "module:attribute", to an object: how policies, engines, models and venues are chosen.

Only for names that the operator set. A name that arrives in a request must be looked up in an allow-list instead.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from shoal.errors import SettingsError


def load(name: str, package: str, attribute: str) -> Any:
    """The object called `attribute` in the file `name` of `package`, or what "module:attribute" names.

    Raises SettingsError that lists the names there are.
    """
    module, colon, own_attribute = name.partition(":")
    if not colon:
        known = available(package)
        if name not in known:
            kind = package.rpartition(".")[2]
            raise SettingsError(f"{name!r} is not one of the {kind}: {', '.join(known)} (or module:attribute)")
        module, own_attribute = f"{package}.{name}", attribute
    try:
        return getattr(importlib.import_module(module), own_attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{name!r} cannot be loaded: {error}") from error


def available(package: str) -> list[str]:
    """The names of the files in `package`, private ones excepted."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(module.name for module in found if not module.name.startswith("_"))
