"""Remembers launches until a listing shows their instances. The next controller can read them too.

A listing lags behind a launch. Without this memory the next tick, or the next controller, would launch again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Protocol

from controller.policy import Intent
from shoal.errors import ShoalError
from shoal.ports import Grant, Instance

log = logging.getLogger(__name__)


class Notebook(Protocol):
    """Keeps the notes: `controller.lease.Hold`."""

    def note(self, notes: str) -> None:
        """Keep these notes for the next holder of the lease. Raises LeaseLost when another holds it."""


class Intents:
    """An intent is written before its launch. It is removed when its instances show up, are refused, or are overdue.

    launch_seconds: how long a launched instance may take to show up.
    """

    def __init__(self, notebook: Notebook, launch_seconds: float) -> None:
        self._notebook = notebook
        self._launch_seconds = launch_seconds
        self._intents: dict[str, Intent] = {}
        self._written = True

    def load(self, grant: Grant, now: float) -> None:
        """Go on from the notes of the last holder of the lease.

        A holder that fell silent may be paused, just before a launch. So its launches count as asked for now, by our
        clock. Without notes (the table was lost) the intents that this process knows stay.
        """
        if not grant.notes:
            self._written = not self._intents
            return
        found = [Intent(raw["token"], tuple(raw["names"]), raw["at"]) for raw in json.loads(grant.notes)]
        self._intents = {one.token: replace(one, at=now) if grant.seized else one for one in found}

    def add(self, intent: Intent) -> None:
        """Remember a launch before it is asked for. When this raises (LeaseLost, Retryable), do not launch."""
        self._notebook.note(_text([*self._intents.values(), intent]))
        self._intents[intent.token] = intent
        self._written = True

    def granted(self, token: str, count: int) -> None:
        """The cloud launched `count` instances, perhaps fewer than were asked for."""
        intent = self._intents[token]
        self._intents[token] = replace(intent, names=intent.names[:count])
        self._write_later()

    def forget(self, token: str) -> None:
        """The launch was refused."""
        if self._intents.pop(token, None):
            self._write_later()

    def all(self) -> tuple[Intent, ...]:
        """Every remembered launch."""
        return tuple(self._intents.values())

    def open(self, instances: Sequence[Instance], now: float) -> tuple[Intent, ...]:
        """The launches that `instances` does not show whole, with the names still missing. Forgets the others."""
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
            self._written = False
        if not self._written:
            self._write_later()
        return tuple(one for one in missing if one.names)

    def _write_later(self) -> None:
        """Update the notes, or try again at the next tick: notes that name too many launches only make us wait."""
        self._written = False
        try:
            self._notebook.note(_text(self._intents.values()))
            self._written = True
        except ShoalError as error:
            log.debug("the notes are brought up to date later: %s", error)


def _text(intents: Iterable[Intent]) -> str:
    return json.dumps([asdict(one) for one in intents])
