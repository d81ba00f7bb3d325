"""The real controller on a cloud in memory, with workers that boot, work, beat, drain and die by a manual clock.

For tests and benchmarks of the controller: hours pass in seconds, whatever the speed of the machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

from app_tier.worker import LEAST_IN_PROGRESS, PREFETCH_SECONDS
from controller.budget import Budget
from controller.estimates import Spread
from controller.experience import Experience
from controller.intents import Intents
from controller.lease import Hold
from controller.ledger import Ledger, Tick
from controller.policies.per_message import policy as per_message
from controller.policy import Limits, Policy, Terms
from controller.reconciler import Reconciler
from controller.rules import Rules
from controller.sightings import Patience
from controller.tally import Tally
from controller.throughput import Throughput
from shoal.memory import ManualClock, MemoryPool, MemoryRegister, memory_cloud
from shoal.ports import MOST_IN_PROGRESS, Beat, Cloud, Instance, Received


@dataclass
class FleetWorker:
    """A worker of the fleet: the messages that it holds and the beat that it sends."""

    beat: Beat = field(default_factory=lambda: Beat(0))
    held: list[Received] = field(default_factory=list)
    credit: float = 0.0
    mute: bool = False


class Fleet:
    """The workers of all instances of a cloud in memory.

    service_seconds: the work for a message. boot_seconds: from launch to the first beat. most_per_second: messages of
    all workers together, which share what limits them. stuck: instances launched while it is True never boot.
    killed_busy: instances terminated while they held messages; must be none.
    """

    def __init__(self, cloud: Cloud, clock: ManualClock, service_seconds: float, boot_seconds: float) -> None:
        self._cloud = cloud
        self._clock = clock
        self.service_seconds = service_seconds
        self.boot_seconds = boot_seconds
        self.most_per_second = math.inf
        self.workers: dict[str, FleetWorker] = {}
        self.stuck = False
        self.killed_busy: list[str] = []
        self.finished = 0
        self._never: set[str] = set()
        self._known: set[str] = set()

    def work(self, seconds: float) -> None:
        """Do the work of the `seconds` until now."""
        instances = {one.id: one for one in self._cloud.pool.describe()}
        self._known &= instances.keys()
        self._never &= instances.keys()
        for name in [name for name in self.workers if name not in instances]:
            if self.workers.pop(name).held:
                self.killed_busy.append(name)
        for one in instances.values():
            self._boot(one)
        for one in instances.values():
            if one.id in self.workers:
                self._receive(one, self.workers[one.id])
        speed = self._speed()
        for one in instances.values():
            if one.id in self.workers:
                self._work(one, self.workers[one.id], seconds, speed)

    def _speed(self) -> float:
        """The share of its own speed that each busy worker has."""
        busy = sum(bool(worker.held) for worker in self.workers.values())
        return min(1.0, self.most_per_second * self.service_seconds / busy) if busy else 1.0

    def _boot(self, one: Instance) -> None:
        if one.id not in self._known:
            self._known.add(one.id)
            if self.stuck:
                self._never.add(one.id)
        booted = self._clock.now() - one.launched_at >= self.boot_seconds
        if booted and one.id not in self._never and one.id not in self.workers:
            self.workers[one.id] = FleetWorker()

    def _receive(self, one: Instance, worker: FleetWorker) -> None:
        if one.drain_since is not None:
            return
        places = max(LEAST_IN_PROGRESS, min(MOST_IN_PROGRESS, math.ceil(PREFETCH_SECONDS / self.service_seconds)))
        while len(worker.held) < places and (
            taken := self._cloud.requests.receive(min(10, places - len(worker.held)), 0)
        ):
            worker.held += taken

    def _work(self, one: Instance, worker: FleetWorker, seconds: float, speed: float) -> None:
        work = seconds * speed + worker.credit
        busy = min(seconds, (len(worker.held) * self.service_seconds - worker.credit) / speed)
        count = int(work / self.service_seconds + 1e-9)
        done, worker.held = worker.held[:count], worker.held[count:]
        worker.credit = work - len(done) * self.service_seconds if worker.held else 0.0
        if done:
            self._cloud.requests.delete([message.receipt for message in done])
        self.finished += len(done)
        self._receive(one, worker)  # at once, as a worker does: one that holds a single message is not idle between two
        beat = worker.beat
        worker.beat = replace(
            beat,
            count=beat.count + 1,
            finished=beat.finished + len(done),
            in_progress=len(worker.held),
            busy_seconds=beat.busy_seconds + busy,
        )
        if not worker.mute:
            self._cloud.register.beat(one.id, worker.beat)
        if one.drain_since is not None and not worker.held:
            del self.workers[one.id]
            self._cloud.pool.terminate([one.id])


class FleetWorld:
    """A cloud in memory, a fleet, and a controller that can be killed and started again at any tick."""

    def __init__(
        self,
        folder: Path,
        policy: Policy = per_message,
        limits: Limits | None = None,
        service_seconds: float = 0.2,
        boot_seconds: float = 0.0,
        budget: Budget | None = None,
    ) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.cloud = memory_cloud(self.clock, visibility_seconds=3600)
        assert isinstance(self.cloud.pool, MemoryPool)
        assert isinstance(self.cloud.register, MemoryRegister)
        self.pool, self.register, self.queue = self.cloud.pool, self.cloud.register, self.cloud.requests
        self.fleet = Fleet(self.cloud, self.clock, service_seconds, boot_seconds)
        self.rules = Rules(policy, Terms(limits or Limits(0, 15, 10.0)), Patience(120.0, 60.0, 60.0), budget)
        self.ledger_path = folder / "ledger.jsonl"
        self.launch_seconds = 30.0
        # What a controller before this one measured.
        self.experience = Experience(
            service=Spread.guess(service_seconds),
            boot=Spread.guess(boot_seconds + 1),
            throughput=Throughput(service_seconds),
        )
        self.start()

    def start(self, dry_run: bool = False) -> None:
        """Start a new controller, which knows only the cloud and the disk."""
        hold = Hold(self.cloud.lease, "one", 10, self.clock.now)
        ledger = Ledger(self.ledger_path)
        last = ledger.last()
        self.intents = Intents(hold, self.launch_seconds)
        self.controller = Reconciler(
            self.cloud,
            self.rules,
            ledger,
            hold,
            self.intents,
            self.clock,
            self.clock.now,
            replace(self.experience, tally=Tally.after(last) if last else Tally()),
            None,
            dry_run,
        )

    def use(self, **changes: object) -> None:
        """Change the rules, as a reload does."""
        self.rules = replace(self.rules, **changes)  # type: ignore[arg-type]
        self.controller.use(self.rules)

    def send(self, count: int) -> None:
        """Send photos."""
        for first in range(0, count, 1000):
            self.queue.send(["x"] * min(1000, count - first))

    def tick(self, times: int = 1, seconds: float = 1.0, work: bool = True) -> Tick | None:
        """Run ticks, `seconds` apart, and the work between them unless the workers are idle."""
        tick = None
        for _ in range(times):
            tick = self.controller.tick()
            self.clock.wait(seconds)
            if work:
                self.fleet.work(seconds)
        return tick

    @property
    def machines(self) -> list[Instance]:
        """All instances."""
        return self.pool.describe()

    @property
    def leaving(self) -> list[Instance]:
        """The instances that were asked to leave."""
        return [one for one in self.machines if one.drain_since is not None]
