"""What each tick saw, decided and did, and the ledger that keeps it as entries of `shoal.ledger`."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from controller.plan import Act, Drain, Launch
from controller.policy import Decision, Observation
from controller.sightings import CAPACITY_STATES
from controller.tally import Tally
from shoal.ledger import DoneAct, Entry, PoolCounts, Refusal, Spent
from shoal.ledger_file import older, read
from shoal.logs import WarnOnce

log = logging.getLogger(__name__)

MAX_BYTES = 4 * 1024 * 1024  # several hours of changes every second; one older file of the same size is kept beside it
BULK_SECONDS = 4.0  # between two entries whose only news is photos of bulk runs; each tick of a long run is too much


@dataclass(frozen=True, slots=True)
class Tick:
    """What one tick saw, decided and did.

    done:    the acts as they took effect: a launch names only what the cloud granted.
    refused: what was wanted and did not happen, by the cap, the budget or the cloud.
    spent:   the cost of this budget period; None without a budget.
    token:   the fencing token of the lease that it acted under.
    dry_run: nothing was done; `done` is what would have been done.
    no_launch: why the budget lets no machine start; "" when it lets one start.
    """

    observation: Observation
    decision: Decision
    done: tuple[Act, ...] = ()
    refused: tuple[Refusal, ...] = ()
    spent: Spent | None = None
    token: int = 0
    dry_run: bool = False
    no_launch: str = ""

    def sentence(self) -> str:
        """The tick in words."""
        seen = self.observation
        parts = [f"backlog {seen.depth.total}, {self.decision.reason}"]
        pool = self._pool()
        counts = [(pool.running, "running"), (pool.pending, "pending"), (pool.lost, "lost"), (pool.leaving, "leaving")]
        if some := ", ".join(f"{count} {state}" for count, state in counts if count):
            parts.append(some)
        parts += [words for words in (seen.lost.words(), seen.standstill) if words]
        would = "would have " if self.dry_run else ""
        acts = [f"{would}{_words(act)}" for act in self.done]
        acts += [f"refused {one.count}: {one.why}" for one in self.refused]
        parts.append(", ".join(acts) or f"desired {self.decision.desired}, nothing to do")
        return ("dry run: " if self.dry_run else "") + "; ".join(parts)

    def entry(self, told: Tally) -> Entry:
        """Its entry in the ledger. told: the counts that earlier entries hold already."""
        seen, measured = self.observation, self.observation.measured
        return Entry(
            at=round(seen.now, 3),
            sentence=self.sentence(),
            visible=seen.depth.visible,
            in_flight=seen.depth.in_flight,
            delayed=seen.depth.delayed,
            machines=seen.machines,
            desired=self.decision.desired,
            reason=self.decision.reason,
            arrived=measured.tally.arrived - told.arrived,
            finished=measured.tally.finished - told.finished,
            dropped=measured.tally.dropped - told.dropped,
            bulk_finished=measured.tally.bulk_finished - told.bulk_finished,
            counted=measured.tally.counted,
            unseen=measured.tally.unseen,
            oldest_seconds=round(measured.waiting[0].age, 1) if measured.waiting else 0.0,
            arrivals_per_second=round(measured.arrivals, 3),
            service_seconds=round(measured.service_seconds, 4),
            boot_seconds=round(measured.boot_seconds, 2),
            alone_seconds=round(measured.throughput.alone(), 4),
            rates=measured.throughput.rates,
            pool=self._pool(),
            standstill=seen.standstill,
            done=tuple(_done(act) for act in self.done),
            refused=self.refused,
            spent=self.spent,
            token=self.token,
            dry_run=self.dry_run,
            no_launch=self.no_launch,
        )

    def _pool(self) -> PoolCounts:
        seen = self.observation
        states = Counter(one.state for one in seen.staying)
        lost = sum(
            one.state in CAPACITY_STATES and not seen.leaves(one) and seen.is_lost(one.id) for one in seen.instances
        )
        leaving = len(seen.instances) - len(seen.staying) - lost
        return PoolCounts(states["running"], states["pending"] + seen.intended, lost, leaving)

    def same_as(self, other: Tick | None) -> bool:
        """Whether this tick has no news compared with `other`."""
        return other is not None and not self._happened() and self._situation() == other._situation()

    def _happened(self) -> bool:
        """Whether it tells of something that the tick before could not know: it is told once."""
        return bool(self.done or self.observation.lost)

    def _situation(self) -> tuple[object, ...]:
        # A refusal's figures change with the time of day; its first words are what it is about.
        refused = tuple((one.count, one.why.partition(":")[0]) for one in self.refused)
        seen = self.observation
        stops = self.no_launch.partition(":")[0]
        return seen.depth, self._pool(), self.decision.desired, refused, self.token, seen.standstill, stops


def _done(act: Act) -> DoneAct:
    match act:
        case Launch(names):
            return DoneAct("launch", names)
        case Drain(ids, why):
            return DoneAct("drain", ids, why)
    return DoneAct("terminate", act.ids, act.why)


def _words(act: Act) -> str:
    match act:
        case Launch(names):
            return f"launched {len(names)}"
        case Drain(ids, why):
            return f"asked {len(ids)} to leave" + (f" ({why})" if why else "")
    return f"terminated {len(act.ids)} ({act.why})"


class TickRecord(Protocol):
    """Keeps ticks: `Ledger`, or one that keeps nothing."""

    def record(self, tick: Tick) -> str:
        """Keep a tick. Returns its sentence when it has news, else ""."""


class Ledger:
    """Appends to `path`. A tick without news is left out: an idle night is one line.

    Photos of bulk runs alone are written every few seconds, and are no news to tell.

    emulated: whether the machines are processes on this machine. Readers need it once that cloud is stopped.
    """

    def __init__(self, path: Path, emulated: bool = False) -> None:
        self._path = path
        self._emulated = emulated
        self._last: Tick | None = None
        self._newest: Entry | None = None
        self._faults = WarnOnce(log)
        path.parent.mkdir(parents=True, exist_ok=True)

    def record(self, tick: Tick) -> str:
        """Write a tick down; returns its sentence, or "" when it had no news."""
        same = tick.same_as(self._last)
        if same and not self._counts_bulk(tick):
            return ""
        entry = tick.entry(self._last.observation.measured.tally if self._last else Tally())
        entry = replace(entry, begins=self._last is None, emulated=self._emulated)
        self._last = tick
        self._write(entry)
        return "" if same else entry.sentence

    def _counts_bulk(self, tick: Tick) -> bool:
        assert self._last is not None
        seen, last = tick.observation, self._last.observation
        grown = seen.measured.tally.bulk_finished > last.measured.tally.bulk_finished
        return grown and seen.now - last.now >= BULK_SECONDS

    def end(self, now: float, why: str) -> None:
        """Write down that this controller stops, unless it has written nothing. now: seconds since 1970."""
        if self._newest is None:
            return
        sentence = f"controller stopped ({why}); the pool stays as it is"
        machines = self._newest.machines_after
        ended = replace(self._newest, at=round(now, 3), sentence=sentence, machines=machines, begins=False, ends=True)
        self._write(replace(ended, done=(), arrived=0, finished=0, dropped=0, bulk_finished=0))

    def _write(self, entry: Entry) -> None:
        self._newest = entry
        try:
            self._limit_size()
            _append(self._path, f"{entry.to_json()}\n".encode())
            self._faults.clear()
        except OSError as error:
            self._faults.warn("the ledger cannot be written, the controller goes on: %s", error)

    def last(self) -> Entry | None:
        """The newest entry that is not of a dry run, this controller's or an earlier one's; None without any."""
        acted = None
        for entry in read(self._path):
            acted = acted if entry.dry_run else entry
        return acted

    def _limit_size(self) -> None:
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(older(self._path))


def _append(path: Path, line: bytes) -> None:
    """Write the whole line or nothing of it. Raises OSError."""
    with path.open("ab", buffering=0) as file:
        end = file.seek(0, os.SEEK_END)
        if file.write(line) < len(line):
            file.truncate(end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
