"""`python -m benchmarks.controller`: the cost of a decision, of a tick, of a week, and of a simulated day."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from rich.console import Console
from rich.table import Table

from benchmarks.fleet import FleetWorld
from benchmarks.running.system import RunningSystem
from benchmarks.running.waiting import wait_for
from controller.estimates import Spread, Waiting
from controller.intents import Intents
from controller.lease import Hold
from controller.ledger import Ledger
from controller.plan import plan
from controller.policies import backlog_per_instance, deadline, per_message, qos, schedule, step
from controller.policy import Limits, Measured, Observation, Policy, Terms, decide
from controller.reconciler import Reconciler
from controller.rules import Rules
from controller.sightings import Patience, Sighting
from shoal.aws import connect
from shoal.clock import SystemClock
from shoal.lifecycle import steady
from shoal.ports import Beat, Depth, Instance
from shoal.settings import read_env_file
from simulator import arrivals
from simulator.durations import lognormal
from simulator.figures import Prices
from simulator.run import Scenario
from simulator.run import run as simulate
from simulator.world import Machines

ROUNDS = 20
INSTANCES = 10_000
MESSAGES = 1_000_000
WORKERS = 15
NOW = 1_700_000_000.0
PATIENCE = Patience(300.0, 90.0, 300.0)
POLICIES: dict[str, Policy] = {
    "per_message": per_message.policy,
    "qos": qos.policy,
    "backlog_per_instance": backlog_per_instance.policy,
    "step": step.policy,
    "schedule": schedule.policy,
    "deadline": deadline.policy,
}
DAY_PHOTOS = 1_000_000
DAY_SECONDS = 86_400.0
DAY_MACHINES = 1000
HOUR_TICKS = 720  # a simulated tick each five seconds
WEEK_HOURS = 7 * 24

console = Console(highlight=False)


def main() -> None:
    """Measure and print."""
    table = Table("policy", "ms", title=f"A decision: {INSTANCES:,} instances, {MESSAGES:,} messages (limit 20 ms)")
    for name, policy in POLICIES.items():
        table.add_row(name, f"{statistics.median(decision_seconds(policy)) * 1000:.1f}")
    console.print(table)
    begin, end, objects = week()
    console.print(
        f"A simulated week: {begin / 1e6:.2f} MB after an hour, {end / 1e6:.2f} MB at its end, {objects:+d} objects"
    )
    photos, took = simulated_day()
    console.print(
        f"A simulated day of {photos:,} photos under `deadline`, a tick each second, up to {DAY_MACHINES:,} machines: "
        f"{took:.0f} s (limit 60 s)"
    )
    seconds = tick_seconds()
    console.print(
        f"A tick on the embedded cloud with {WORKERS} workers: median {statistics.median(seconds) * 1000:.0f} ms, "
        f"worst of {len(seconds)} {max(seconds) * 1000:.0f} ms (limit 100 ms)"
    )


def large() -> Observation:
    """An observation with 10,000 instances of all kinds, a million messages and a long history."""
    states = ("running", "running", "running", "pending")
    machines = tuple(
        Instance(f"i-{n:08x}", f"app-tier-instance-{n + 1}", states[n % 4], NOW - n, NOW if n % 50 == 0 else None)
        for n in range(INSTANCES)
    )
    seen = {
        one.id: Sighting(NOW - 30, beat=Beat(9, 9, n % 32) if one.state == "running" else None, beat_changed=NOW)
        for n, one in enumerate(machines)
    }
    line = tuple(Waiting((n + 1) * MESSAGES // 64, 640.0 - 10 * n) for n in range(64))
    measured = Measured(Spread(((0.9, 1.0),) * 64), Spread(((60.0, 1.0),) * 64), 900.0, line)
    return Observation(NOW, Depth(MESSAGES - 200_000, 200_000, 0), machines, (), seen, measured)


def decision_seconds(policy: Policy, rounds: int = ROUNDS) -> list[float]:
    """The times of decisions with their plans. The desired number is doubled, so that new names are needed for all."""
    terms = Terms(Limits(0, 2 * INSTANCES, 10.0))
    seconds = []
    seen = large()
    for _ in range(rounds):
        observation = replace(seen)  # which has computed nothing yet
        began = time.process_time()  # it waits for nothing, so a busy machine need not disturb the figure
        decision, _ = decide(policy, observation, (), terms)
        plan(decision, observation, terms.limits, PATIENCE)
        seconds.append(time.process_time() - began)
    return seconds


def week(hours: int = WEEK_HOURS) -> tuple[int, int, int]:
    """The real controller over `hours` of changing load: bytes in use after the first hour and at the end, and
    the growth of the number of objects that the garbage collector tracks.
    """
    with tempfile.TemporaryDirectory() as folder:
        world = FleetWorld(Path(folder), deadline.policy, service_seconds=0.5, boot_seconds=20.0)
        tracemalloc.start()
        hour(world)
        gc.collect()
        begin, objects = tracemalloc.get_traced_memory()[0], len(gc.get_objects())
        for _ in range(hours - 1):
            hour(world)
        gc.collect()
        end = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return begin, end, len(gc.get_objects()) - objects


def hour(world: FleetWorld) -> None:
    """An hour in ticks of five seconds: bursts of photos, then a pause in which the pool empties."""
    for number in range(HOUR_TICKS):
        if number < HOUR_TICKS * 2 // 3 and number % 60 == 0:
            world.send(200)
        world.tick(1, seconds=5.0)


def simulated_day() -> tuple[int, float]:
    """How many photos, and the seconds that it takes to simulate them."""
    times = list(arrivals.day(DAY_PHOTOS, DAY_SECONDS, Random(1)))
    terms = Terms(Limits(0, DAY_MACHINES, 10.0))
    machines = Machines(lognormal(0.57, 0.2), lognormal(71.53, 0.1))
    began = time.perf_counter()
    simulate("deadline", Scenario(times, machines, terms, Prices(0.0416), DAY_SECONDS))
    return len(times), time.perf_counter() - began


def tick_seconds() -> list[float]:
    """The times of ticks beside a running system whose workers are ready, by a controller in a dry run."""
    with running(MIN_INSTANCES=WORKERS, MAX_INSTANCES=WORKERS) as system:
        reconciler = looker(system)
        wait_for(lambda: at_work(reconciler) == WORKERS, 120, "the workers did not begin to work", every_seconds=1.0)
        return [timed(reconciler) for _ in range(ROUNDS)]


def at_work(reconciler: Reconciler) -> int:
    """How many workers send beats."""
    entry = reconciler.tick()
    return sum(one.beat is not None for one in entry.observation.sightings.values()) if entry else 0


def timed(reconciler: Reconciler) -> float:
    """The time of one tick."""
    began = time.perf_counter()
    entry = reconciler.tick()
    seconds = time.perf_counter() - began
    assert entry is not None
    assert entry.observation.machines == WORKERS
    return seconds


def looker(system: RunningSystem) -> Reconciler:
    """A controller in a dry run on the system's cloud. It reads what any controller reads, and changes nothing."""
    os.environ.update(read_env_file(system.state_dir / "env"))
    chosen = system.settings
    cloud = connect(chosen)
    hold = Hold(cloud.lease, "benchmark", chosen.lease_seconds, steady)
    ledger = Ledger(system.state_dir / "benchmark" / "ledger.jsonl")
    reconciler = Reconciler(
        cloud, Rules.of(chosen), ledger, hold, Intents(hold, 30.0), SystemClock(), steady, dry_run=True
    )
    reconciler.tick()  # connects, looks names up
    return reconciler


@contextmanager
def running(**settings: object) -> Iterator[RunningSystem]:
    """A system for one measurement."""
    with tempfile.TemporaryDirectory(prefix="shoal-bench-") as folder:
        system = RunningSystem(Path(folder) / "state", (), **settings)
        try:
            system.start()
            yield system
        finally:
            system.stop()


if __name__ == "__main__":
    main()
