"""The control groups in which the systemd of a machine keeps its units: below a group of the machine's own.

Without that all machines would share one, and a unit that stops in one machine would end its namesake in another. This
is about systemd's own hierarchies only; the limits of an instance are `local_cloud.machines.limits`.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PREFIX = "local-cloud-machine-"
# Of version 1 with systemd's hierarchies beside it, and of version 2.
PLACES = {"name=systemd": Path("/sys/fs/cgroup/systemd"), "": Path("/sys/fs/cgroup/unified")}
VERSION_2 = Path("/sys/fs/cgroup")


def parents() -> Iterator[Path]:
    """The group of this process in each hierarchy of systemd."""
    version_2 = (VERSION_2 / "cgroup.controllers").exists()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, name, group = line.split(":", 2)
        place = VERSION_2 if version_2 and not name else PLACES.get(name)
        if place is not None and place.is_dir():
            yield place / group.lstrip("/")


class MachineGroups:
    """The groups of one machine. This process goes into them, so that systemd-nspawn makes its own below."""

    def __init__(self, name: str) -> None:
        """Raises OSError."""
        self._parents = list(parents())
        self._own = [parent / f"{PREFIX}{name}" for parent in self._parents]
        for group in self._own:
            group.mkdir(exist_ok=True)
            _move(group)

    def remove(self) -> None:
        """Remove them, when all other processes of the machine have ended."""
        for parent, group in zip(self._parents, self._own, strict=True):
            with contextlib.suppress(OSError):
                _move(parent)
            remove_tree(group)


def _move(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))


def remove_tree(group: Path) -> None:
    """Remove a group and those below it. What has processes stays."""
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()


def sweep() -> None:
    """Remove the groups of machines that were killed together with their host."""
    for parent in parents():
        for group in parent.glob(f"{PREFIX}*"):
            remove_tree(group)
