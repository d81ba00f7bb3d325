"""The fleet in figures, from the queue, the pool, the controller's ledger and the answers to this process."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from shoal.buckets import failures, foreign_messages
from shoal.buckets.foreign_messages import ForeignMessage
from shoal.errors import ShoalError
from shoal.ports import Beat, Clock, Cloud
from shoal.prices import price_per_hour
from shoal.settings import Settings
from web_tier.results.hub import Answered, Hub, PoolState
from web_tier.watching import history
from web_tier.watching.history import History, Moment
from web_tier.watching.plots import Plot, plot
from web_tier.watching.pool_poller import PoolPoller
from web_tier.watching.shared_reading import SharedReading

log = logging.getLogger(__name__)

READ_SECONDS = 1.0
RATE_SECONDS = 15.0  # images a second are counted over this span; workers report every two seconds
PLOT_SECONDS = 1800.0
PLOT_PARTS = 90
SENTENCES = 20
MOST_BURIED = 1000  # one page of a listing


@dataclass(frozen=True, slots=True)
class Cost:
    """What machines cost since a time (seconds since 1970), for how many images."""

    dollars: float
    since: float
    images: int

    @property
    def per_thousand(self) -> float | None:
        """For a thousand images; None before the first."""
        return self.dollars / self.images * 1000 if self.images else None


@dataclass(frozen=True, slots=True)
class FleetReport:
    """One reading of the fleet. What could not be read is None.

    moments:     the last day of the ledger.
    arithmetics: in which the workers compute, each once.
    foreign:     the kept messages that are not Shoal's.
    buried:      how many dead letters were answered as failed and are kept.
    worker_peak_bytes: the most memory that a worker has held at once; 0 without a worker.
    """

    now: float
    pool: PoolState | None
    dead_letters: int | None
    images_per_second: float
    waits: tuple[float, float] | None
    cost: Cost | None
    moments: tuple[Moment, ...] | None
    arithmetics: tuple[str, ...] = ()
    foreign: tuple[ForeignMessage, ...] | None = ()
    worker_peak_bytes: int = 0
    buried: int | None = 0

    @property
    def hindrance(self) -> str:
        """Why photos wait although more workers are wanted, or why none could start; empty when all is well."""
        if not self.moments:
            return ""
        last = self.moments[-1]
        told = last.hindrance or (f"no worker can start: {last.no_launch}" if last.no_launch else "")
        return told[:1].upper() + told[1:]

    @property
    def decisions(self) -> list[Moment]:
        """The last entries of the ledger, newest first; of those that say the same in a row the first."""
        found: list[Moment] = []
        for one in reversed(self.moments or ()):
            if found and found[-1].sentence == one.sentence:
                found[-1] = one
            elif len(found) == SENTENCES:
                break
            else:
                found.append(one)
        return found

    @property
    def plots(self) -> list[Plot]:
        """The last half hour."""
        if not self.moments:
            return []
        begin, end, moments = self.now - PLOT_SECONDS, self.now, self.moments
        waiting = history.steps(moments, begin, end, lambda one: one.waiting)
        in_flight = history.steps(moments, begin, end, lambda one: one.in_flight)
        machines = history.steps(moments, begin, end, lambda one: one.machines)
        running = history.steps(moments, begin, end, lambda one: one.running)
        rates = history.rates(moments, begin, end, PLOT_PARTS)
        return [
            plot("Backlog", begin, end, {"waiting": waiting, "in work": in_flight}),
            plot("Machines", begin, end, {"all": machines, "at work": running}),
            plot("Images a second", begin, end, {"": rates}, steps=False),
        ]

    def to_dict(self) -> dict[str, Any]:
        """As JSON types, for programs."""
        cost = self.cost
        return {
            "at": round(self.now, 3),
            "pool": self.pool.counts() if self.pool else None,
            "dead_letters": self.dead_letters,
            "buried": self.buried,
            "foreign_messages": None if self.foreign is None else [one.reason for one in self.foreign],
            "images_per_second": round(self.images_per_second, 2),
            "arithmetic": list(self.arithmetics),
            "wait_seconds": {"median": self.waits[0], "p95": self.waits[1]} if self.waits else None,
            "cost": asdict(cost) | {"per_thousand": cost.per_thousand} if cost else None,
            "ledger": self.moments is not None,
            "hindrance": self.hindrance,
            "decisions": [{"at": one.at, "sentence": one.sentence} for one in self.decisions],
        }


class Reporter:
    """Reads the fleet for all pages, once a second at most. Safe for many threads."""

    def __init__(
        self,
        cloud: Cloud,
        pool_poller: PoolPoller,
        hub: Hub,
        past: History,
        clock: Clock,
        settings: Callable[[], Settings],
    ) -> None:
        self._cloud = cloud
        self._pool_poller = pool_poller
        self._hub = hub
        self._past = past
        self._clock = clock
        self._settings = settings
        self._foreign: tuple[ForeignMessage, ...] = ()
        self._reading = SharedReading(self._look, READ_SECONDS)

    def read(self) -> FleetReport:
        """The fleet, at most a second old."""
        return self._reading.read()

    def changed(self) -> None:
        """Read the fleet anew at the next call: an operator has just acted."""
        self._reading.forget()

    def _look(self) -> FleetReport:
        now, moments, answered = self._clock.now(), self._past.read(), self._hub.answered()
        if moments:
            images = history.rate(moments, now, RATE_SECONDS)
        else:
            images = sum(one.at >= time.monotonic() - RATE_SECONDS for one in answered) / RATE_SECONDS
        cost, price = None, price_per_hour(self._settings())
        if moments and price is not None:
            cost = Cost(history.cost(moments, now, price), moments[0].at, history.done(moments))
        pool, waits, workers = self._pool_poller.read(), _waits(answered), self._workers()
        return FleetReport(
            now,
            pool,
            self._dead_letters(),
            images,
            waits,
            cost,
            moments,
            tuple(sorted({one.arithmetic for one in workers if one.arithmetic})),
            self._foreign_messages(),
            max((one.peak_bytes for one in workers), default=0),
            self._buried(),
        )

    def _workers(self) -> list[Beat]:
        try:
            return list(self._cloud.register.workers().values())
        except ShoalError as error:
            log.info("cannot read the register: %s", error)
            return []

    def _dead_letters(self) -> int | None:
        try:
            return self._cloud.dead_letters.depth().total
        except ShoalError as error:
            log.info("cannot read the dead-letter queue: %s", error)
            return None

    def _buried(self) -> int | None:
        try:
            return len(failures.buried_keys(self._cloud.outputs, MOST_BURIED))
        except ShoalError as error:
            log.info("cannot read the dead letters that were answered: %s", error)
            return None

    def _foreign_messages(self) -> tuple[ForeignMessage, ...] | None:
        try:
            if foreign_messages.count(self._cloud.outputs) != len(self._foreign):
                self._foreign = tuple(foreign_messages.kept(self._cloud.outputs))
        except ShoalError as error:
            log.info("cannot read the kept messages that are not Shoal's: %s", error)
            return None
        return self._foreign


def _waits(answered: Sequence[Answered]) -> tuple[float, float] | None:
    """The median and the 95th percentile of the waits in seconds; None without an answer."""
    if not answered:
        return None
    waits = sorted(one.wait_seconds for one in answered)
    return waits[(len(waits) - 1) // 2], waits[-(-95 * len(waits) // 100) - 1]
