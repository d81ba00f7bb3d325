"""The world that a policy acts on: photos that arrive, a queue, and machines that boot, work and leave.

It has its own clock: `advance` does all that happens until a time. A photo counts as finished when its message is
deleted. Times are seconds from the beginning.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from shoal.errors import CapacityUnavailable
from shoal.ports import MOST_IN_PROGRESS
from simulator.durations import Durations, constant

# How a worker takes photos ahead; `app_tier.worker` and `app_tier.prefetch` have the same numbers.
LEAST_IN_PROGRESS = 1
FIRST_IN_PROGRESS = 1
PREFETCH_SECONDS = 4.0
MORE_EACH = 2
RECEIVE_MESSAGES = 10
NOTICE_SECONDS = 120.0  # from EC2's notice to the end of a spot instance

READY, FINISHED, BACK, NOTICE, RECLAIMED = range(5)


@dataclass(frozen=True, slots=True)
class Machines:
    """What the machines are like.

    service:  seconds of a worker's time for a photo.
    boot:     seconds from a launch until the worker can work.
    cores:    how many workers work at full speed at once; more of them share that. None: they share nothing.
    most:     how many the cloud gives at once; None: as many as are asked for.
    interruptions: how often an hour the cloud takes an instance back (spot).
    visibility_seconds: when the photos of a machine that was killed can be received again.
    ahead:    how many photos a worker has in progress at most; None: as many as Shoal's worker takes.
    """

    service: Durations = field(default_factory=lambda: constant(0.5))
    boot: Durations = field(default_factory=lambda: constant(60.0))
    cores: int | None = None
    most: int | None = None
    interruptions: float = 0.0
    visibility_seconds: float = 30.0
    ahead: int | None = None


class Machine:
    """A machine and its worker."""

    __slots__ = (
        "ahead", "busy_seconds", "current", "drain_since", "ended_at", "finished", "held", "id", "launch",
        "launched_at", "leaving", "name", "ready", "received", "works_since",
    )  # fmt: skip

    def __init__(self, identifier: str, name: str, launch: str, launched_at: float, ahead: int | None = None) -> None:
        self.id = identifier
        self.ahead = ahead
        self.name = name
        self.launch = launch
        self.launched_at = launched_at
        self.ready = False
        self.drain_since: float | None = None
        self.leaving = False
        self.ended_at: float | None = None
        self.held: deque[int] = deque()  # photos that wait in the worker
        self.current: int | None = None  # the photo that it works on
        self.works_since = 0.0
        self.busy_seconds = 0.0
        self.finished = 0
        self.received = 0

    @property
    def in_progress(self) -> int:
        """Messages that were received and not yet deleted."""
        return len(self.held) + (self.current is not None)

    def places(self) -> int:
        """How many messages more it may take."""
        if not self.ready or self.leaving:
            return 0
        if self.ahead is not None:
            return max(0, self.ahead - self.in_progress)
        rate = self.finished / self.busy_seconds if self.busy_seconds else math.inf
        enough = max(LEAST_IN_PROGRESS, min(MOST_IN_PROGRESS, math.ceil(min(PREFETCH_SECONDS * rate, 1e6))))
        return max(0, min(enough, FIRST_IN_PROGRESS + MORE_EACH * self.finished) - self.in_progress)


@dataclass
class Totals:
    """What happened. machine_seconds: from launch to end, of machines that have ended. busy_killed: machines that were
    ended from outside while they had photos. seconds_of: of each ended machine."""

    launched: int = 0
    most_machines: int = 0
    busy_killed: int = 0
    interrupted: int = 0
    worked_seconds: float = 0.0
    seconds_of: list[float] = field(default_factory=list)


class World:
    """Photos, queue and machines. One thread."""

    def __init__(self, arrivals: Sequence[float], machines: Machines, seed: int = 1) -> None:
        self.now = 0.0
        self.arrivals = arrivals
        self.kind = machines
        self.machines: dict[str, Machine] = {}
        self.totals = Totals()
        self.finished_at = array("d", bytes(8 * len(arrivals)))  # 0: not finished
        self.done = 0
        self.in_flight = 0
        # Each photo is the same work and each launch takes the same time under every policy.
        work = Random(seed)
        self.service_seconds = array("d", (machines.service.draw(work) for _ in arrivals))
        self._boots = Random(f"{seed} boots")
        self._reclaims = Random(f"{seed} reclaims")
        self._arrived = 0
        self._waiting: deque[int] = deque()
        self._events: list[tuple[float, int, int, Machine, int]] = []
        self._order = 0
        self._polling: OrderedDict[str, Machine] = OrderedDict()
        self._working = 0

    # what can be seen

    @property
    def visible(self) -> int:
        """Messages that can be received."""
        return len(self._waiting)

    @property
    def backlog(self) -> int:
        """Photos that have arrived and are not finished."""
        return self._arrived - self.done

    @property
    def over(self) -> bool:
        """Whether every photo has arrived and is finished."""
        return self.done == len(self.arrivals)

    # what happens by itself

    def advance(self, until: float) -> None:
        """Do all that happens until then."""
        events, arrivals = self._events, self.arrivals
        while True:
            arrival = arrivals[self._arrived] if self._arrived < len(arrivals) else math.inf
            event = events[0][0] if events else math.inf
            if min(arrival, event) > until:
                break
            if arrival <= event:
                self.now = arrival
                self._arrived += 1
                self._come(self._arrived - 1)
            else:
                self.now, _, what, machine, photo = heapq.heappop(events)
                self._happen(what, machine, photo)
        self.now = until

    def _happen(self, what: int, machine: Machine, photo: int) -> None:
        if what == BACK:
            self.in_flight -= 1
            self._come(photo)
        elif machine.ended_at is not None:
            return
        elif what == FINISHED:
            self._finish(machine, photo)
        elif what == READY:
            machine.ready = True
            self._go_on(machine)
        elif what == NOTICE:
            self.totals.interrupted += 1
            machine.leaving = True
            self._later(NOTICE_SECONDS, RECLAIMED, machine)
            self._go_on(machine)
        elif what == RECLAIMED:
            self._end(machine)

    def _later(self, seconds: float, what: int, machine: Machine, photo: int = -1) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, what, machine, photo))

    def _come(self, photo: int) -> None:
        """A message can be received: the worker that has waited longest gets it."""
        self._waiting.append(photo)
        if self._polling:
            _, machine = self._polling.popitem(last=False)
            self._go_on(machine)

    def _go_on(self, machine: Machine) -> None:
        """Take what it may take, work, or leave."""
        places = machine.places()
        waiting = self._waiting
        while places and waiting:
            count = min(places, RECEIVE_MESSAGES, len(waiting))
            machine.held.extend(waiting.popleft() for _ in range(count))
            machine.received += count
            self.in_flight += count
            places -= count
        if machine.current is None and machine.held:
            self._begin(machine)
        if places:
            self._polling[machine.id] = machine
        else:
            self._polling.pop(machine.id, None)
        if machine.leaving and machine.ready and not machine.in_progress:
            self._end(machine)

    def _begin(self, machine: Machine) -> None:
        photo = machine.held.popleft()
        machine.current = photo
        machine.works_since = self.now
        self._working += 1
        seconds = self.service_seconds[photo]
        if self.kind.cores is not None:
            seconds *= max(1.0, self._working / self.kind.cores)
        self._later(seconds, FINISHED, machine, photo)

    def _finish(self, machine: Machine, photo: int) -> None:
        machine.current = None
        machine.finished += 1
        machine.busy_seconds += self.now - machine.works_since
        self.totals.worked_seconds += self.now - machine.works_since
        self._working -= 1
        self.in_flight -= 1
        if not self.finished_at[photo]:
            self.finished_at[photo] = self.now
            self.done += 1
        if machine.held:
            self._begin(machine)
        if not machine.held or self._wants(machine):
            self._go_on(machine)

    def _wants(self, machine: Machine) -> bool:
        """Whether it asks for more: a third of its places are free, see `app_tier.prefetch`."""
        free = machine.places()
        return free >= min(RECEIVE_MESSAGES, math.ceil((free + machine.in_progress) / 3)) or machine.leaving

    # what a policy does

    def launch(self, names: Iterable[str], token: str = "") -> list[Machine]:
        """Start machines, as many as the cloud gives. Raises CapacityUnavailable when it gives none."""
        wanted = list(names)
        if self.kind.most is not None:
            room = max(0, self.kind.most - len(self.machines))
            if wanted and not room:
                raise CapacityUnavailable(f"the cloud has no more than {self.kind.most} instances to give")
            wanted = wanted[:room]
        made = [self._launch_one(name, token) for name in wanted]
        self.totals.most_machines = max(self.totals.most_machines, len(self.machines))
        return made

    def _launch_one(self, name: str, token: str) -> Machine:
        self.totals.launched += 1
        machine = Machine(f"i-{self.totals.launched:08x}", name, token, self.now, self.kind.ahead)
        self.machines[machine.id] = machine
        self._later(self.kind.boot.draw(self._boots), READY, machine)
        if self.kind.interruptions:
            self._later(self._reclaims.expovariate(self.kind.interruptions / 3600), NOTICE, machine)
        return machine

    def drain(self, ids: Iterable[str]) -> None:
        """Ask machines to finish what they have and leave. One that still boots leaves once it has booted."""
        for one in ids:
            machine = self.machines.get(one)
            if machine is not None:
                machine.drain_since = machine.drain_since or self.now
                machine.leaving = True
                self._go_on(machine)

    def terminate(self, ids: Iterable[str]) -> None:
        """End machines at once. What they had in progress is done again by others, after the visibility timeout."""
        for one in ids:
            machine = self.machines.get(one)
            if machine is not None:
                self.totals.busy_killed += machine.in_progress > 0
                self._end(machine)

    def _end(self, machine: Machine) -> None:
        del self.machines[machine.id]
        self._polling.pop(machine.id, None)
        machine.ended_at = self.now
        self.totals.seconds_of.append(self.now - machine.launched_at)
        if machine.current is not None:
            self._working -= 1
            machine.held.appendleft(machine.current)
            machine.current = None
        for photo in machine.held:
            self._later(self.kind.visibility_seconds, BACK, machine, photo)
        machine.held.clear()
