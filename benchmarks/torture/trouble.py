"""Kills, stops and continues the processes of a running system, and fills its disk, all at times from a seed."""

from __future__ import annotations

import random
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

from benchmarks.running.small_disk import SmallDisk
from benchmarks.running.system import RunningSystem
from benchmarks.torture.account import Account

# `shoal up` gives up when a part ends more than five times in a minute: that is no accident any more.
MOST_KILLS = 3
KILLS_SECONDS = 60.0
LONGEST_STOP_SECONDS = 6.0
LEFT_BYTES = 200_000  # on a full disk, so that sometimes a small thing goes and a large does not

MACHINE = "LOCAL_CLOUD_INSTANCE"  # of a process of the embedded cloud: its machine's id

Pause = Callable[[float], bool]


class Disturber:
    """Disturbs a system. `run` does so until it is told to end; all goes on afterwards.

    disk: the one that the system is on; None when there is none that may be filled.
    pause: waits so many seconds; returns True when the run was broken off.
    """

    def __init__(
        self, system: RunningSystem, account: Account, choice: random.Random, disk: SmallDisk | None, pause: Pause
    ) -> None:
        self._system = system
        self._account = account
        self._choice = choice
        self._disk = disk
        self._pause = pause
        self._killed: defaultdict[str, deque[float]] = defaultdict(deque)

    def run(self, seconds: float, every_seconds: float) -> None:
        """Disturb, on average every `every_seconds`. The account complains if it cannot go on."""
        try:
            self._run(seconds, every_seconds)
        except Exception as error:
            self._account.complain(f"the trouble ended early: {error!r}")

    def _run(self, seconds: float, every_seconds: float) -> None:
        ends = time.monotonic() + seconds
        parts: Sequence[str] = ("worker", "worker", "worker", "controller", "web", "storage", "cloud")
        while time.monotonic() < ends and not self._pause(self._choice.expovariate(1 / every_seconds)):
            if self._disk is not None and self._choice.random() < 0.08:
                self._fill()
                continue
            part = self._choice.choice(parts)
            how = self._kill if self._choice.random() < 0.5 else self._stop
            with suppress(psutil.Error, StopIteration, OSError, ValueError):  # it is not there at this moment
                how(part)

    def _kill(self, part: str) -> None:
        recent, now = self._killed[part], time.monotonic()
        while recent and recent[0] < now - KILLS_SECONDS:
            recent.popleft()
        if part != "worker" and len(recent) >= MOST_KILLS:
            return
        process = self._process(part)
        machine = process.environ().get(MACHINE) if part == "worker" else None
        process.kill()
        if machine:
            self._account.killed.add(machine)
        recent.append(now)
        self._account.count(f"kill -9 of {part}")

    def _stop(self, part: str) -> None:
        process = self._process(part)
        process.suspend()
        self._account.count(f"SIGSTOP of {part}")
        try:
            self._pause(self._choice.uniform(0.2, LONGEST_STOP_SECONDS))
        finally:
            with suppress(psutil.Error):
                process.resume()

    def _fill(self) -> None:
        assert self._disk is not None
        try:
            self._disk.fill(leave=self._choice.randrange(LEFT_BYTES))
            self._account.count("times the disk was full")
            self._pause(self._choice.uniform(1.0, LONGEST_STOP_SECONDS))
        except OSError:
            pass  # somebody else was quicker
        finally:
            self._disk.empty()

    def _process(self, part: str) -> psutil.Process:
        if part == "worker":
            return self._choice.choice(sorted(self._system.workers(), key=lambda one: one.pid) or [_nobody()])
        if part == "storage":
            init = int((self._system.state_dir / "cloud" / "ministack.pid").read_text())
            return next(iter(psutil.Process(init).children()))
        return self._system.part({"controller": "-m controller", "web": "web_tier", "cloud": "local_cloud"}[part])


def _nobody() -> psutil.Process:
    raise StopIteration
