"""The world as the ports that the reconciler uses: the request queue, the pool and the register of workers."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from shoal.memory import ManualClock, MemoryQueue, memory_cloud
from shoal.ports import Beat, Cloud, Depth, Instance
from simulator.world import Machine, World

BEAT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class CountFaults:
    """How wrong the queue's counts are. lag: seconds that they are late. zeros: the share of looks that read 0."""

    lag: float = 0.0
    zeros: float = 0.0


class QueueView(MemoryQueue):
    """The request queue: only its counts are of interest."""

    def __init__(self, world: World, clock: ManualClock, counts: CountFaults, seed: int) -> None:
        super().__init__(clock)
        self._world = world
        self._counts = counts
        self._dice = Random(seed)
        self._past: deque[tuple[float, Depth]] = deque()

    def depth(self) -> Depth:
        world = self._world
        now = Depth(world.visible, world.in_flight, 0)
        if not self._counts.lag and not self._counts.zeros:
            return now
        self._past.append((world.now, now))
        while len(self._past) > 1 and self._past[1][0] <= world.now - self._counts.lag:
            self._past.popleft()
        return Depth(0, 0, 0) if self._dice.random() < self._counts.zeros else self._past[0][1]


class PoolView:
    """The pool: an InstancePool. start: seconds since 1970 at the world's beginning."""

    def __init__(self, world: World, start: float) -> None:
        self._world = world
        self._start = start
        self._tokens = itertools.count(1)
        self._shown: dict[str, Instance] = {}

    def describe(self) -> list[Instance]:
        shown = self._shown
        self._shown = {name: self._instance(shown.get(name), one) for name, one in self._world.machines.items()}
        return list(self._shown.values())

    def _instance(self, shown: Instance | None, one: Machine) -> Instance:
        state = "running" if one.ready else "pending"
        if shown is not None and shown.state == state and (shown.drain_since is None) == (one.drain_since is None):
            return shown
        drain_since = None if one.drain_since is None else self._start + one.drain_since
        return Instance(one.id, one.name, state, self._start + one.launched_at, drain_since, one.launch)

    def token(self, count: int) -> str:  # noqa: ARG002 - the port's signature
        return f"{next(self._tokens):032x}"

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        return [self._instance(None, one) for one in self._world.launch(names, token)]

    def drain(self, ids: Sequence[str]) -> None:
        self._world.drain(ids)

    def terminate(self, ids: Sequence[str]) -> None:
        self._world.terminate(ids)


class RegisterView:
    """The register: a Register. A worker that is ready beats every BEAT_SECONDS."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._beats: dict[str, tuple[float, Beat]] = {}

    def beat(self, worker: str, beat: Beat) -> None:
        """Workers of the world do not call this."""

    def workers(self) -> dict[str, Beat]:
        now, known = self._world.now, self._beats
        self._beats = {
            name: self._newest(known.get(name), one, now) for name, one in self._world.machines.items() if one.ready
        }
        return {name: beat for name, (_, beat) in self._beats.items()}

    def _newest(self, last: tuple[float, Beat] | None, one: Machine, now: float) -> tuple[float, Beat]:
        if last is not None and now - last[0] < BEAT_SECONDS and last[1].leaving == one.leaving:
            return last
        working = now - one.works_since if one.current is not None else 0.0
        beat = Beat(
            count=1 if last is None else last[1].count + 1,
            finished=one.finished,
            in_progress=one.in_progress,
            busy_seconds=one.busy_seconds + working,
            leaving=one.leaving,
            received=one.received,
        )
        return now, beat

    def forget(self, workers: Sequence[str]) -> None:
        """Those that have ended are not shown in any case."""


def cloud_of(world: World, clock: ManualClock, counts: CountFaults, seed: int) -> Cloud:
    """A cloud whose queue, pool and register are those of the world."""
    queue = QueueView(world, clock, counts, seed)
    return replace(
        memory_cloud(clock), requests=queue, pool=PoolView(world, clock.now() - world.now), register=RegisterView(world)
    )
