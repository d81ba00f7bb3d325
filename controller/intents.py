"""Launches that were asked for and may not show up in a listing yet, kept on disk.

A listing lags behind a launch; without this memory the next tick, or the controller's next life, would launch again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from controller.policy import Intent
from shoal.ports import Instance


class Intents:
    """Written before the launch, removed when its instances were seen, were refused, or did not come in time.

    launch_seconds: how long a launched instance may take to show up.
    """

    def __init__(self, path: Path, launch_seconds: float) -> None:
        self._path = path
        self._launch_seconds = launch_seconds
        self._intents: dict[str, Intent] = {one.token: one for one in _read(path)}

    def add(self, intent: Intent) -> None:
        """Remember a launch that is about to be asked for."""
        self._intents[intent.token] = intent
        self._write()

    def granted(self, token: str, count: int) -> None:
        """The cloud launched `count` instances, which may be fewer than were asked for."""
        intent = self._intents[token]
        self._intents[token] = replace(intent, names=intent.names[:count])
        self._write()

    def forget(self, token: str) -> None:
        """The launch was refused."""
        if self._intents.pop(token, None):
            self._write()

    def all(self) -> tuple[Intent, ...]:
        """Every remembered launch."""
        return tuple(self._intents.values())

    def open(self, instances: Sequence[Instance], now: float) -> tuple[Intent, ...]:
        """The launches that `instances` does not show yet, with the names still missing; the others are forgotten."""
        shown: dict[str, int] = {}
        for one in instances:
            shown[one.launch] = shown.get(one.launch, 0) + 1
        missing = [
            replace(one, names=one.names[shown.get(one.token, 0) :])
            for one in self._intents.values()
            if now - one.at < self._launch_seconds
        ]
        still_open = {one.token: self._intents[one.token] for one in missing if one.names}
        if still_open.keys() != self._intents.keys():
            self._intents = still_open
            self._write()
        return tuple(one for one in missing if one.names)

    def _write(self) -> None:
        # Renamed into place: a controller killed at any line leaves the old file or the new one.
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps([asdict(one) for one in self._intents.values()]))
        fresh.replace(self._path)


def _read(path: Path) -> list[Intent]:
    if not path.exists():
        return []
    return [Intent(raw["token"], tuple(raw["names"]), raw["at"]) for raw in json.loads(path.read_text())]
