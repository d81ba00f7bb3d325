"""The controller's metrics: for Prometheus, and once a minute for CloudWatch under the names that AWS uses."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from controller.ledger import Tick
from controller.plan import Act, Drain, Launch
from controller.tally import Tally
from shoal.errors import ShoalError
from shoal.ledger import Entry
from shoal.logs import WarnOnce

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
TICK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CLOUDWATCH_SECONDS = 60.0  # CloudWatch's own resolution
MAX_BYTES = 4 * 1024 * 1024  # of a file of embedded metrics; one older file of the same size is kept beside it


class Metrics:
    """The metrics at `/metrics`. Gauges show the last tick of a controller that acts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._backlog = self._gauge("backlog", "Request messages, approximately", "kind")
        age = "Age of the oldest request message that waits, at most since this controller's first look"
        self._oldest = self._gauge("oldest_message_seconds", age)
        self._arrivals = self._gauge("arrivals_per_second", "Request messages that came in, per second")
        self._service = self._gauge("service_seconds", "Measured seconds of a worker per message")
        self._boot = self._gauge("boot_seconds", "Measured seconds from a launch to the first beat")
        self._desired = self._gauge("desired_capacity", "Workers that the policy wants, limits applied")
        self._machines = self._gauge("machines", "Machines there are or may be, by what they do", "state")
        self._launches = self._counter("launches", "Machines launched")
        self._drains = self._counter("drains", "Workers asked to leave")
        self._terminations = self._counter("terminations", "Machines ended from outside: overdue, idle or lost ones")
        self._refusals = self._counter("refusals", "Wanted and not done, by the cap, the budget or the cloud")
        self._tick = Histogram("shoal_tick_seconds", "Length of a tick", registry=self.registry, buckets=TICK_BUCKETS)
        self._held = self._gauge("lease_held", "1 while this controller acts, 0 while it stands by")
        self._token = self._gauge("lease_token", "Fencing token of the lease")
        self._blind = self._gauge("blind", "1 while the queue or the pool cannot be seen, and everything is held")
        self._spent = self._gauge("spent", "Cost of this budget period so far, in the budget's currency")

    def _gauge(self, name: str, words: str, *labels: str) -> Gauge:
        return Gauge(f"shoal_{name}", words, labels, registry=self.registry)

    def _counter(self, name: str, words: str) -> Counter:
        return Counter(f"shoal_{name}", words, registry=self.registry)

    def ticked(self, tick: Tick | None, seconds: float, held: bool) -> None:
        """Take in one tick: what it returned, how long it took, and whether this controller holds the lease."""
        self._tick.observe(seconds)
        self._held.set(held)
        self._blind.set(held and tick is None)
        if tick is None:
            return
        entry = tick.entry(Tally())
        for kind, messages in (("visible", entry.visible), ("in_flight", entry.in_flight), ("delayed", entry.delayed)):
            self._backlog.labels(kind).set(messages)
        for state, machines in asdict(entry.pool).items():
            self._machines.labels(state).set(machines)
        self._oldest.set(entry.oldest_seconds)
        self._arrivals.set(entry.arrivals_per_second)
        self._service.set(entry.service_seconds)
        self._boot.set(entry.boot_seconds)
        self._desired.set(entry.desired)
        self._token.set(entry.token)
        if entry.spent is not None:
            self._spent.set(entry.spent.amount)
        done = _counts(tick)
        self._launches.inc(done["launches"])
        self._drains.inc(done["drains"])
        self._terminations.inc(done["terminations"])
        self._refusals.inc(done["refusals"])

    def serve(self, port: int) -> Callable[[], None]:
        """Answer `GET /metrics` on this machine only; returns what stops it. Raises OSError when the port is taken."""
        server, thread = start_http_server(port, LOOPBACK, self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop


def _counts(tick: Tick) -> dict[str, int]:
    counts = {"launches": 0, "drains": 0, "terminations": 0, "refusals": sum(one.count for one in tick.refused)}
    for act in () if tick.dry_run else tick.done:
        counts[_kind(act)] += len(act.names if isinstance(act, Launch) else act.ids)
    return counts


def _kind(act: Act) -> str:
    if isinstance(act, Launch):
        return "launches"
    return "drains" if isinstance(act, Drain) else "terminations"


Publish = Callable[[Mapping[str, float]], None]

UNITS = {"ApproximateAgeOfOldestMessage": "Seconds", "TickSeconds": "Seconds"}  # all others are counts


class CloudWatch:
    """Gathers ticks and publishes them once a minute, under the names that AWS gives to a queue and a group.

    publish: takes values by name.
    steady:  seconds by a clock that nobody sets.
    """

    def __init__(self, publish: Publish, steady: Callable[[], float]) -> None:
        self._publish = publish
        self._steady = steady
        self._since = steady()
        self._sums = {"Launches": 0, "Drains": 0, "Terminations": 0, "Refusals": 0}
        self._longest = 0.0
        self._faults = WarnOnce(log)

    def ticked(self, tick: Tick | None, seconds: float) -> None:
        """Take in one tick. A controller that stands by or cannot see publishes nothing: no data is not zero."""
        if tick is None:
            return
        self._longest = max(self._longest, seconds)
        for name, count in _counts(tick).items():
            self._sums[name.capitalize()] += count
        if self._steady() - self._since >= CLOUDWATCH_SECONDS:
            self._hand_on({**_cloudwatch(tick.entry(Tally())), **self._sums, "TickSeconds": round(self._longest, 4)})
            self._since, self._longest = self._steady(), 0.0
            self._sums = dict.fromkeys(self._sums, 0)

    def _hand_on(self, values: Mapping[str, float]) -> None:
        try:
            self._publish(values)
        except (ShoalError, OSError) as error:
            self._faults.warn("cannot publish metrics, will go on trying: %s", error)
            return
        self._faults.clear()


def _cloudwatch(entry: Entry) -> dict[str, float]:
    return {
        "ApproximateNumberOfMessagesVisible": entry.visible,
        "ApproximateNumberOfMessagesNotVisible": entry.in_flight,
        "ApproximateNumberOfMessagesDelayed": entry.delayed,
        "ApproximateAgeOfOldestMessage": entry.oldest_seconds,
        "BacklogPerInstance": round(entry.backlog / max(1, entry.pool.running), 3),
        "GroupDesiredCapacity": entry.desired,
        "GroupInServiceInstances": entry.pool.running,
        "GroupPendingInstances": entry.pool.pending,
        "GroupTerminatingInstances": entry.pool.leaving,
        "GroupTotalInstances": entry.machines,
    }


class EmbeddedMetrics:
    """Appends CloudWatch's embedded metric format to a file, for an agent that ships it: one JSON line a minute.

    pool: the value of the one dimension, Pool.
    now:  seconds since 1970.
    """

    def __init__(self, path: Path, pool: str, now: Callable[[], float]) -> None:
        self._path = path
        self._pool = pool
        self._now = now

    def __call__(self, values: Mapping[str, float]) -> None:
        metrics = [{"Name": name, "Unit": UNITS.get(name, "Count")} for name in values]
        directive = {"Namespace": "Shoal", "Dimensions": [["Pool"]], "Metrics": metrics}
        line = {
            "_aws": {"Timestamp": int(self._now() * 1000), "CloudWatchMetrics": [directive]},
            "Pool": self._pool,
            **values,
        }
        if self._path.exists() and self._path.stat().st_size > MAX_BYTES:
            self._path.replace(self._path.with_suffix(self._path.suffix + ".1"))
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")
