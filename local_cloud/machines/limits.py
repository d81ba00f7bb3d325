"""Limits instances: processors by affinity; memory and processor time by control groups, where they can be made.

Control groups are made below the group of this process, so a limit of the whole cloud still holds. Version 2 delegates
controllers only from a group without processes of its own: this process then moves into a group beside the instances'.
Version 1 needs only permission.
"""

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

PERIOD_MICROSECONDS = 100_000
CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
PREFIX = "local-cloud-"


@dataclass(frozen=True)
class ProcessLimits:
    """`cpus`: numbers of processors; empty for all. `groups`: the cgroup.procs files to join."""

    cpus: tuple[int, ...] = ()
    groups: tuple[Path, ...] = ()


NO_LIMITS = ProcessLimits()


class Groups(Protocol):
    """A parent of control groups, one for each instance."""

    def make(self, name: str, memory_bytes: int, cpus: int) -> tuple[Path, ...]:
        """Make the group `name` or change its limits. Returns the cgroup.procs files to join. Raises OSError."""

    def killed(self, name: str) -> int:
        """How many of its processes the kernel has killed because memory ran out."""

    def remove(self, name: str = "") -> None:
        """Remove a group without processes; without a name, the parent itself. No error when it does not exist."""


class GroupsV1:
    """Control groups version 1: memory and cpu in separate hierarchies."""

    def __init__(self, memory: Path, cpu: Path) -> None:
        self._memory, self._cpu = memory, cpu

    def make(self, name: str, memory_bytes: int, cpus: int) -> tuple[Path, ...]:
        memory, cpu = self._memory / name, self._cpu / name
        for folder in (memory, cpu):
            folder.mkdir(parents=True, exist_ok=True)
        (memory / "memory.limit_in_bytes").write_text(str(memory_bytes))
        (cpu / "cpu.cfs_period_us").write_text(str(PERIOD_MICROSECONDS))
        (cpu / "cpu.cfs_quota_us").write_text(str(cpus * PERIOD_MICROSECONDS))
        return memory / "cgroup.procs", cpu / "cgroup.procs"

    def killed(self, name: str) -> int:
        return _count(self._memory / name / "memory.oom_control", "oom_kill")

    def remove(self, name: str = "") -> None:
        _remove(self._memory / name)
        _remove(self._cpu / name)


class GroupsV2:
    """Control groups version 2: one hierarchy."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, name: str, memory_bytes: int, cpus: int) -> tuple[Path, ...]:
        group = self._folder / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(str(memory_bytes))
        (group / "cpu.max").write_text(f"{cpus * PERIOD_MICROSECONDS} {PERIOD_MICROSECONDS}")
        return (group / "cgroup.procs",)

    def killed(self, name: str) -> int:
        return _count(self._folder / name / "memory.events", "oom_kill")

    def remove(self, name: str = "") -> None:
        _remove(self._folder / name)


class Limiter:
    """Gives each instance the limits of its type."""

    def __init__(self, groups: Groups | None) -> None:
        self._groups = groups
        self._available = sorted(os.sched_getaffinity(0))
        self._next = itertools.count()
        self._lock = threading.Lock()

    @property
    def enforced(self) -> bool:
        """Whether the kernel enforces memory and processor time."""
        return self._groups is not None

    def describe(self) -> str:
        """One line for people."""
        if self.enforced:
            return "the kernel holds each instance to its type's memory and processor time (control groups)"
        return (
            "no control groups can be made here: an instance's memory is looked at every second, "
            "its processors are set by affinity, which a program can undo"
        )

    def of(self, name: str, memory_bytes: int, cpus: int) -> ProcessLimits:
        """The limits of the instance `name`. Raises OSError."""
        groups = self._groups.make(name, memory_bytes, cpus) if self._groups is not None else ()
        return ProcessLimits(self._pick(cpus), groups)

    def killed(self, name: str) -> int:
        """How many of its processes the kernel has killed because memory ran out."""
        return self._groups.killed(name) if self._groups is not None else 0

    def release(self, name: str) -> None:
        """Remove the limits of an instance without processes."""
        if self._groups is not None:
            self._groups.remove(name)

    def close(self) -> None:
        """Remove the parent group, when no instance is left."""
        if self._groups is not None:
            self._groups.remove()

    def _pick(self, cpus: int) -> tuple[int, ...]:
        """The next processors in turn, so that small instances spread over the machine."""
        available = self._available
        if cpus >= len(available):
            return ()
        with self._lock:
            first = next(self._next) * cpus
        return tuple(sorted(available[(first + offset) % len(available)] for offset in range(cpus)))


def find_groups(mounts: Path = CGROUPS, membership: Path = MEMBERSHIP) -> Groups | None:
    """The parent for control groups of this process; None where it may not make any.

    Groups that killed clouds have left are removed: their names hold the number of their process.
    """
    name = f"{PREFIX}{os.getpid()}"
    own = _own_groups(membership)
    with contextlib.suppress(OSError):
        if (mounts / "cgroup.controllers").exists():
            return _version_2(mounts / own.get("", "").lstrip("/"), name)
        if "memory" in own and "cpu" in own:
            return _version_1(*(mounts / kind / own[kind].lstrip("/") / name for kind in ("memory", "cpu")))
    return None


def _own_groups(membership: Path) -> Mapping[str, str]:
    """The group of this process by controller; "" is that of version 2."""
    found = {}
    for line in membership.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        found.update(dict.fromkeys(controllers.split(","), group))
    return found


def _version_1(memory: Path, cpu: Path) -> Groups:
    for folder in (memory, cpu):
        _clear_dead(folder.parent)
        folder.mkdir()
    groups = GroupsV1(memory, cpu)
    groups.make("trial", 1 << 30, 1)
    groups.remove("trial")
    return groups


def _version_2(own: Path, name: str) -> Groups:
    folder, host = own / name, own / f"{name}-host"
    _clear_dead(own)
    folder.mkdir()
    try:
        _hand_down(own)
    except OSError:
        # Refused while `own` has processes: move this one aside. If there are others, it is refused again.
        host.mkdir(exist_ok=True)
        (host / "cgroup.procs").write_text("0")
        try:
            _hand_down(own)
        except OSError:
            (own / "cgroup.procs").write_text("0")
            _remove(host)
            _remove(folder)
            raise
    _hand_down(folder)
    groups = GroupsV2(folder)
    groups.make("trial", 1 << 30, 1)
    groups.remove("trial")
    return groups


def _hand_down(group: Path) -> None:
    (group / "cgroup.subtree_control").write_text("+cpu +memory")


def _clear_dead(place: Path) -> None:
    """Remove the groups of clouds whose process has ended, also if it had this process's number."""
    for folder in place.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner != str(os.getpid()) and Path("/proc", owner).exists():
            continue
        for group in folder.iterdir():
            if group.is_dir():
                _remove(group)
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return
    except OSError as error:
        # The kernel may not have finished with its processes: the next start removes it.
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise


def _count(path: Path, name: str) -> int:
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            word, _, number = line.partition(" ")
            if word == name:
                return int(number)
    return 0
