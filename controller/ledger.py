"""Every decision with its numbers and its reason: JSON lines for programs, a sentence for people."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from controller.budget import Spent
from controller.plan import Act, Drain, Launch, Refusal
from controller.policy import CAPACITY_STATES, Decision, Observation
from shoal.ledger import older, read

MAX_BYTES = 4 * 1024 * 1024  # several hours of changes every second; one older file of the same size is kept beside it


@dataclass(frozen=True, slots=True)
class Entry:
    """One tick.

    done:    the acts as they took effect: a launch names only what the cloud granted.
    refused: what was wanted and did not happen, by the cap, the budget or the cloud.
    spent:   what this budget period has cost; None without a budget.
    token:   the fencing token of the lease that it acted under.
    dry_run: nothing was done, `done` is what would have been.
    """

    observation: Observation
    decision: Decision
    done: tuple[Act, ...] = ()
    refused: tuple[Refusal, ...] = ()
    spent: Spent | None = None
    token: int = 0
    dry_run: bool = False

    def sentence(self) -> str:
        """The entry for a person."""
        seen = self.observation
        parts = [f"backlog {seen.depth.total}, {self.decision.reason}"]
        if pool := ", ".join(f"{count} {what}" for what, count in self._pool().items() if count):
            parts.append(pool)
        would = "would have " if self.dry_run else ""
        acts = [f"{would}{_words(act)}" for act in self.done]
        acts += [f"refused {one.count}: {one.why}" for one in self.refused]
        parts.append(", ".join(acts) or f"desired {self.decision.desired}, nothing to do")
        return ("dry run: " if self.dry_run else "") + "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """The entry as JSON types."""
        seen, measured = self.observation, self.observation.measured
        return {
            "at": round(seen.now, 3),
            "sentence": self.sentence(),
            "visible": seen.depth.visible,
            "in_flight": seen.depth.in_flight,
            "delayed": seen.depth.delayed,
            "oldest_seconds": round(measured.waiting[0].age, 1) if measured.waiting else 0.0,
            "arrivals_per_second": round(measured.arrivals, 3),
            "service_seconds": round(measured.service_seconds, 4),
            "boot_seconds": round(measured.boot_seconds, 2),
            "finished": measured.finished,
            "machines": seen.machines,
            "pool": self._pool(),
            "desired": self.decision.desired,
            "reason": self.decision.reason,
            "done": [{"act": type(act).__name__.lower(), **asdict(act)} for act in self.done],
            "refused": [asdict(one) for one in self.refused],
            "spent": asdict(self.spent) if self.spent else None,
            "token": self.token,
            "dry_run": self.dry_run,
        }

    def _pool(self) -> dict[str, int]:
        """How many machines there are of each kind; together they are all that the cap counts."""
        seen = self.observation
        states = Counter(one.state for one in seen.staying)
        lost = sum(
            one.state in CAPACITY_STATES and not seen.leaves(one) and seen.is_lost(one.id) for one in seen.instances
        )
        return {
            "running": states["running"],
            "pending": states["pending"] + seen.intended,
            "lost": lost,
            "leaving": len(seen.instances) - len(seen.staying) - lost,
        }

    def same_as(self, other: Entry | None) -> bool:
        """Whether this tick has nothing to tell that the one before did not."""
        return other is not None and not self.done and self._situation() == other._situation()

    def _situation(self) -> tuple[object, ...]:
        # A refusal's figures change with the time of day; its first words are what it is about.
        refused = tuple((one.count, one.why.partition(":")[0]) for one in self.refused)
        seen = self.observation
        return seen.depth, self._pool(), self.decision.desired, refused, self.token


def _words(act: Act) -> str:
    match act:
        case Launch(names):
            return f"launched {len(names)}"
        case Drain(ids, why):
            return f"asked {len(ids)} to leave" + (f" ({why})" if why else "")
    return f"terminated {len(act.ids)} ({act.why})"


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
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry.to_dict(), ensure_ascii=False) + "\n")
        return entry.sentence()

    def last(self) -> dict[str, Any] | None:
        """The newest entry of a controller that acted, this one's or one's before; None when there is none."""
        acted = None
        for entry in read(self._path):
            acted = acted if entry.get("dry_run") else entry
        return acted

    def _make_room(self) -> None:
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(older(self._path))
