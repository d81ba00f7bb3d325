"""Out of memory, as on a real machine: the largest process is killed, the console says so, the instance goes on."""

import os
import signal
from collections.abc import Sequence

from local_cloud.machines import processes
from local_cloud.machines.instance import InstanceRunner
from local_cloud.machines.limits import Limiter


class MemoryWatch:
    """Enforces memory limits. Where the kernel enforces them, it only reports what the kernel has killed."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self._told: dict[str, int] = {}

    def look(self, running: Sequence[InstanceRunner]) -> None:
        """Kill the largest process of each instance that uses more than its type has."""
        if self._limiter.enforced:
            self._tell(running)
            return
        table = processes.read_table()
        for instance in running:
            pid, limit = instance.init_pid, instance.record.memory_bytes
            used = table.resident_bytes_below(pid) if pid is not None else 0
            if pid is not None and used > limit:
                largest = max(table.below(pid), key=lambda one: table.resident_bytes[one])
                instance.guest.log(f"out of memory: {used >> 20} MiB used of {limit >> 20} MiB; killing {largest}")
                _kill(largest)

    def _tell(self, running: Sequence[InstanceRunner]) -> None:
        told, self._told = self._told, {}
        for instance in running:
            killed = self._told[instance.record.id] = self._limiter.killed(instance.record.id)
            if killed > told.get(instance.record.id, 0):
                limit = instance.record.memory_bytes >> 20
                instance.guest.log(f"out of memory: more than {limit} MiB used; the kernel has killed {killed} so far")


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
