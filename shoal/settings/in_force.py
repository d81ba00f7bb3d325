"""The settings that a running controller goes by: it writes those that a reload can change into the state folder."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shoal.errors import MalformedMessage, SettingsError
from shoal.lifecycle import holder
from shoal.safe_json import integer, read_object, text
from shoal.settings.declaration import as_text
from shoal.settings.declared import SETTINGS, Settings

NAME = "settings-in-force.json"
LOCK = "controller.lock"  # held by the controller while it runs

RELOADED = tuple(one for one in SETTINGS if one.reload and not one.secret)


@dataclass(frozen=True, slots=True)
class InForce:
    """What a controller says of its settings.

    pid:     its process.
    reads:   how often it has read its settings, refused ones included.
    values:  variable -> text, of each setting that a reload can change.
    refused: why it refused the last reload; empty when it took it.
    no_launch: why the budget of the last reload let no machine start then; empty when it let one start.
    """

    pid: int
    reads: int
    values: Mapping[str, str]
    refused: str = ""
    no_launch: str = ""

    def write(self, state_dir: Path) -> None:
        """Replace what the state folder holds. Raises OSError."""
        body = {"pid": self.pid, "reads": self.reads, "values": dict(self.values)}
        body |= {"refused": self.refused, "no_launch": self.no_launch}
        draft = state_dir / f".{NAME}"
        draft.write_text(json.dumps(body))
        draft.replace(state_dir / NAME)


def of(settings: Settings, reads: int, refused: str = "", no_launch: str = "") -> InForce:
    """What this process, a controller, says of its settings."""
    values = {one.variable: as_text(getattr(settings, one.name)) for one in RELOADED}
    return InForce(os.getpid(), reads, values, refused, no_launch)


def read(state_dir: Path) -> InForce | None:
    """What the controller that runs in this state folder goes by; None when none runs there or it has said nothing."""
    try:
        fields = read_object((state_dir / NAME).read_bytes(), "settings in force")
        values = {text(name): text(value) for name, value in fields["values"].items()}
        refused, no_launch = text(fields["refused"]), text(fields.get("no_launch", ""))
        found = InForce(integer(fields["pid"]), integer(fields["reads"]), values, refused, no_launch)
    except (OSError, MalformedMessage, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if holder(state_dir / LOCK) == found.pid else None


def applied(settings: Settings) -> Settings:
    """The settings, with those that the controller of their state folder has read since it started.

    Without a controller they are as they were. Values that cannot be read are left out.
    """
    found = read(settings.state_dir)
    values: dict[str, Any] = {}
    for one in RELOADED:
        if found and (told := found.values.get(one.variable)):
            with contextlib.suppress(SettingsError):
                values[one.name] = one.parse(told)
    return dataclasses.replace(settings, **values)
