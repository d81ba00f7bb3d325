"""The prepared models of this machine, by which a backup names those that labelled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from inference import store
from shoal.errors import ShoalError
from shoal.settings import Settings


def versions(chosen: Settings) -> dict[str, str]:
    """The models of the settings that are prepared here: name -> version of its files."""
    found = {}
    for name in chosen.served_models:
        weights = chosen.model_weights if name == chosen.model else None
        with suppress(ShoalError):
            found[name] = store.find(name, chosen.engine, chosen.cache_dir, weights, chosen.precision).card.version
    return found


def differences(then: Mapping[str, str], chosen: Settings) -> Iterator[str]:
    """A sentence for each model of a backup that is not the same here."""
    here: dict[str, set[str]] = {}
    for _, card in store.prepared(chosen.cache_dir):
        here.setdefault(card.model, set()).add(card.version)
    for name, version in sorted(then.items()):
        if name not in here:
            yield f"{name} labelled its photos and is not prepared here: prepare it, or copy the folder SHOAL_CACHE_DIR"
        elif version not in here[name]:
            yield f"{name} has other files here than when the backup was made: labels of new photos may differ"
