"""Reads /proc: process trees, their memory, and processes with a marker in their environment."""

# Hundreds of files a second are read here, and a Path for each would cost more than the reading.
# ruff: noqa: PTH123, PTH208

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


@dataclass(frozen=True)
class ProcessTable:
    """One look at all processes: children by parent, resident bytes by process."""

    children: dict[int, list[int]]
    resident_bytes: dict[int, int]

    def below(self, pid: int) -> list[int]:
        """Every descendant of `pid`, without itself."""
        found: list[int] = []
        parents = [pid]
        while parents:
            children = self.children.get(parents.pop(), [])
            found += children
            parents += children
        return found

    def resident_bytes_below(self, pid: int) -> int:
        return sum(self.resident_bytes[descendant] for descendant in self.below(pid))


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def read_table() -> ProcessTable:
    """Read /proc once; takes some 15 microseconds a process."""
    children: dict[int, list[int]] = {}
    resident: dict[int, int] = {}
    for pid in _pids():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # The name, in parentheses, may hold spaces: count fields from behind it.
                fields = file.read().rpartition(b")")[2].split()
        except _GONE:
            continue
        children.setdefault(int(fields[1]), []).append(pid)
        resident[pid] = int(fields[21]) * _PAGE_BYTES
    return ProcessTable(children, resident)


def marked(marker: str) -> list[int]:
    """Processes with `marker` (NAME=value) in their environment, without this process and its parents."""
    own = _self_and_parents()
    wanted = b"\0" + marker.encode() + b"\0"
    found = []
    for pid in _pids():
        if pid in own:
            continue
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                environment = file.read()
        except _GONE:
            continue
        if wanted in b"\0" + environment + b"\0":
            found.append(pid)
    return found


def kill_marked(marker: str, patience_seconds: float = 5.0) -> int:
    """Send SIGKILL to processes with `marker` until none is left. Returns how many there were.

    Raises TimeoutError when some are left after `patience_seconds`.
    """
    deadline = time.monotonic() + patience_seconds
    killed: set[int] = set()
    while pids := marked(marker):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes {pids} cannot be killed")
        for pid in pids:
            killed.add(pid)
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)
    return len(killed)


def _self_and_parents() -> set[int]:
    found: set[int] = set()
    pid = os.getpid()
    while pid > 0:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                pid = int(file.read().rpartition(b")")[2].split()[1])
        except _GONE:
            break
    return found
