"""An instance that is a machine: systemd is its first process, cloud-init reads its user data.

Its disk is an overlay: the image below, which nobody writes to, and above it what the machine has written. Its network
is its own: in it are the metadata service at 169.254.169.254, the cloud at its usual addresses, and nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from local_cloud import CloudError
from local_cloud.machines import programs
from local_cloud.machines.booted import groups, seed
from local_cloud.machines.cron import Schedule
from local_cloud.machines.guest import Guest
from local_cloud.machines.images import ImageError, ImageStore
from local_cloud.machines.init_process import InitProcess
from local_cloud.machines.instance import InstanceRunner
from local_cloud.machines.limits import ProcessLimits

SUPERVISOR = Path(__file__).with_name("supervisor.py")
PROGRAMS = {"systemd-nspawn": "systemd-container", "ip": "iproute2", "mount": "mount"}
FIRST_PROCESS = Path("usr/lib/systemd/systemd")


class NoMachines(CloudError):
    """Machines cannot be booted here; the text says what is missing."""


def check() -> None:
    """Raise NoMachines unless machines can be booted here. Removes what killed ones have left."""
    missing = [f"{name} (Debian: apt-get install {of})" for name, of in PROGRAMS.items() if not shutil.which(name)]
    if os.geteuid() != 0:
        missing.insert(0, "root's rights")
    if missing:
        raise NoMachines(f"instances that are machines need {', '.join(missing)}; process trees need nothing")
    groups.sweep()


class MachineGuest(Guest):
    """The folder of a machine: `root` is what it has written, `work` and `disk` are the overlay's."""

    def prepare(self, image: Path) -> None:
        """Check that the image is a whole system. Raises ImageError."""
        if not os.path.lexists(image / FIRST_PROCESS):
            raise ImageError(f"{image} has no systemd: a machine needs an image of a whole system")
        for folder in (self.root, self.folder / "work", self.folder / "disk"):
            folder.mkdir(exist_ok=True)

    def empty(self) -> None:
        super().empty()
        for name in ("work", "disk"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


class MachineRunner(InstanceRunner):
    """Runs one machine. The supervisor is to it what init is to a process tree."""

    guest_kind = MachineGuest

    def run_due(self, is_due: Callable[[Schedule], bool]) -> None:
        """Do nothing: a machine has a cron of its own."""

    def capture(self, images: ImageStore, identifier: str) -> None:
        """Make an image of what the machine's disk holds, the image below included. Raises ImageError."""
        images.add_copy(identifier, self._copy_disk)

    def _start(self, limits: ProcessLimits) -> InitProcess:
        guest, around = self.guest, self._surroundings
        # The image may have been deregistered while the machine was stopped.
        guest.prepare(self._image)
        seed.write(guest.root, self.record.id, around.endpoints)
        ports = {url.rpartition(":")[2] for url in around.endpoints.values() if url.startswith("http://")}
        return InitProcess(
            environment=guest.environment(around.state_folder, {}, "") | {"PATH": os.environ["PATH"]},
            console=guest.console,
            working_folder=guest.folder,
            pid_file=guest.pid_file,
            grace_seconds=around.grace_seconds,
            program=[str(self._image), around.open_metadata(self.record.id), ",".join(sorted(ports))],
            script=SUPERVISOR,
            limits=limits,
        )

    def _copy_disk(self, target: Path) -> None:
        target.mkdir(parents=True)
        folder = self.guest.folder
        # In a mount namespace of its own: the overlay is gone with the copying process.
        script = 'mount -t overlay -o "$1" overlay "$2" && cp -a -- "$2/." "$3"'
        command = ["unshare", "--mount", "sh", "-c", script, "-", overlay(self._image, folder), folder / "disk", target]
        with programs.start([str(word) for word in command], stderr=subprocess.PIPE) as copying:
            _, errors = copying.communicate()
        if copying.returncode != 0:
            raise ImageError(f"copying the disk of {self.record.id} failed: {errors.decode(errors='replace').strip()}")


def overlay(image: Path, folder: Path) -> str:
    """The options with which a machine's disk is mounted."""
    return f"lowerdir={image},upperdir={folder / 'root'},workdir={folder / 'work'}"
