"""Every decision with its numbers and its reason: JSON lines for programs, a sentence for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from controller.plan import Act, Drain, Launch, Terminate
from controller.policy import Decision, Observation

MAX_BYTES = 4 * 1024 * 1024  # about a day of changes; one older file of the same size is kept beside it


@dataclass(frozen=True, slots=True)
class Entry:
    """One tick: what was seen, decided and done. `refused` says what the cloud did not grant."""

    observation: Observation
    decision: Decision
    acts: tuple[Act, ...] = ()
    refused: str = ""

    def sentence(self) -> str:
        """The entry for a person."""
        seen = self.observation
        states = [one.state for one in seen.staying]
        leaving = len(seen.instances) - len(states)
        parts = [f"backlog {seen.depth.total}", f"{states.count('running')} running"]
        pending = states.count("pending") + seen.intended
        parts += [f"{pending} pending"] if pending else []
        parts += [f"{leaving} leaving"] if leaving else []
        done = ", ".join(_words(act) for act in self.acts) or "nothing to do"
        text = f"{', '.join(parts)}. {self.decision.reason} -> desired {self.decision.desired}: {done}"
        return f"{text}; refused: {self.refused}" if self.refused else text

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON types."""
        seen = self.observation
        return {
            "at": round(seen.now, 3),
            "visible": seen.depth.visible,
            "in_flight": seen.depth.in_flight,
            "delayed": seen.depth.delayed,
            "instances": [asdict(one) for one in seen.instances],
            "intended": seen.intended,
            "desired": self.decision.desired,
            "reason": self.decision.reason,
            "acts": [{"act": type(act).__name__.lower(), **asdict(act)} for act in self.acts],
            "refused": self.refused,
            "sentence": self.sentence(),
        }

    def same_as(self, other: Entry | None) -> bool:
        """Whether this tick has nothing to tell that the one before did not."""
        if other is None or self.acts or self.refused != other.refused:
            return False
        return self._situation() == other._situation()

    def _situation(self) -> tuple[object, ...]:
        seen = self.observation
        machines = tuple(sorted((one.id, one.state, one.drain_since is None) for one in seen.instances))
        return seen.depth, machines, seen.intended, self.decision.desired


def _words(act: Act) -> str:
    match act:
        case Launch(names):
            return f"launch {len(names)}"
        case Drain(ids):
            return f"drain {len(ids)}"
        case Terminate(ids):
            return f"terminate {len(ids)} that did not leave"


class Ledger:
    """Appends to `path`; a tick with nothing new is left out, so an idle night is one line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Entry | None = None
        path.parent.mkdir(parents=True, exist_ok=True)

    def record(self, entry: Entry) -> str:
        """Write an entry down; returns its sentence, or "" when there was nothing new."""
        if entry.same_as(self._last):
            return ""
        self._last = entry
        self._make_room()
        with self._path.open("a") as file:
            file.write(json.dumps(entry.to_dict(), ensure_ascii=False) + "\n")
        return entry.sentence()

    def _make_room(self) -> None:
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))


def read(path: Path) -> Sequence[dict[str, Any]]:
    """The entries of a ledger, oldest first. A last line that a crash cut short is passed over."""
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return entries
