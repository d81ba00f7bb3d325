"""The life of one instance: pending, running, and an end."""

import shlex
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from local_cloud.machines import cron, processes
from local_cloud.machines.guest import Guest
from local_cloud.machines.images import ImageError, ImageStore, copy_tree
from local_cloud.machines.init_process import InitProcess
from local_cloud.machines.limits import NO_LIMITS, Limiter, ProcessLimits

SELF_SHUTDOWN = "Client.InstanceInitiatedShutdown"
TRANSITION = {"terminated": "shutting-down", "stopped": "stopping"}


class InstanceRecord(Protocol):
    """An instance in the cloud's books: its attributes, and its state, which the runner sets."""

    @property
    def id(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def user_data(self) -> bytes: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def cpus(self) -> int: ...
    @property
    def end_state(self) -> str:
        """The state after a shutdown from inside: `terminated` or `stopped`."""

    @property
    def end_state_with_host(self) -> str:
        """The state after the end of the host."""

    @property
    def spot_end_state(self) -> str | None:
        """The state after an interruption; None for an on-demand instance."""

    def set_state(self, name: str, code: str = "", message: str = "") -> None:
        """`name` as EC2 spells it; `code` and `message` are the StateReason."""

    def release(self) -> None:
        """Release what a terminated instance held in the books. Called without locks."""

    def announce(self, path: str, document: Mapping[str, str]) -> None:
        """Show a notice below latest/meta-data/."""


@dataclass(frozen=True)
class Ending:
    """How an instance ends: its final state, the reason, and the grace period of its processes."""

    state: str
    code: str
    message: str
    grace_seconds: float


@dataclass(frozen=True)
class Surroundings:
    """What all instances of one host share.

    open_metadata: makes the address at which an instance of this id reads its metadata; called at each boot.
    """

    state_folder: Path
    endpoints: Mapping[str, str]
    open_metadata: Callable[[str], str]
    boot_seconds: float
    grace_seconds: float
    limiter: Limiter


class InstanceRunner:
    """Runs one instance on a thread of its own.

    The thread takes the instance from boot to end; other threads only ask for an end or a reboot.
    """

    guest_kind: type[Guest] = Guest

    def __init__(
        self,
        record: InstanceRecord,
        image: Path,
        folder: Path,
        surroundings: Surroundings,
        on_end: Callable[[str], None],
    ) -> None:
        """`on_end` is called with the instance's id when it is stopped or terminated."""
        self.record = record
        self.guest = self.guest_kind(record.id, folder)
        self.ended_at: float | None = None
        self._image = image
        self._surroundings = surroundings
        self._on_end = on_end
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._init: InitProcess | None = None
        self._ending: Ending | None = None
        self._rebooting = False
        self._complaints: set[str] = set()

    def lie_down(self, terminated_seconds_ago: float | None) -> None:
        """Enter an instance without processes: stopped, or terminated some time ago. Only before the first start."""
        if terminated_seconds_ago is not None:
            self.ended_at = time.monotonic() - terminated_seconds_ago
            self.guest.empty()

    def start(self) -> None:
        """Boot. Returns at once; the instance is pending. Only for an instance without processes."""
        with self._lock:
            self._ending = None
            self._wake.clear()
            self.record.set_state("pending")
            self._begin(self._live)

    def end(self, ending: Ending) -> None:
        """Ask for an end. Returns at once. The first ending counts, but a termination replaces a stop."""
        with self._lock:
            if self.ended_at is not None or (self._ending is not None and self._ending.state == "terminated"):
                return
            stopped_already = self._thread is None
            if ending.state == "stopped" and (stopped_already or self._ending is not None):
                return
            self._announce(ending)
            if self._init is not None:
                self._init.stop(ending.grace_seconds)
            if stopped_already:
                self._begin(self._finish)

    def reboot(self) -> None:
        """Ask for a restart of all its processes. Returns at once."""
        with self._lock:
            if self._init is not None and self._ending is None:
                self._rebooting = True
                self._init.stop(self._surroundings.grace_seconds)

    def capture(self, images: ImageStore, identifier: str) -> None:
        """Make an image of the instance's files. Raises ImageError."""
        images.add_copy(identifier, lambda target: copy_tree(self.guest.root, target))

    def hasten(self, grace_seconds: float) -> None:
        """Shorten the grace period of an end in progress."""
        with self._lock:
            if self._init is not None:
                self._init.stop(grace_seconds)

    def join(self, timeout_seconds: float) -> bool:
        """Wait for the end; False when it takes longer."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout_seconds)
        return thread is None or not thread.is_alive()

    @property
    def init_pid(self) -> int | None:
        """The process that all its processes descend from; None when it does not run."""
        init = self._init
        return init.pid if init is not None else None

    def run_due(self, is_due: Callable[[cron.Schedule], bool]) -> None:
        """Start the cron jobs that are due."""
        init = self._init
        if init is not None:
            for job in cron.read_jobs(self.guest.cron_folder, self._complain_once):
                if is_due(job.schedule):
                    path = f"PATH={shlex.quote(self.guest.cron_path)}; "
                    init.run(job.command if job.sets_path else path + job.command)

    def _complain_once(self, text: str) -> None:
        # The files are read every minute.
        if text not in self._complaints:
            self._complaints.add(text)
            self.guest.log(text)

    def _begin(self, what: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=what, name=f"instance {self.record.id}", daemon=True)
        self._thread.start()

    def _announce(self, ending: Ending) -> None:
        self._ending = ending
        self.record.set_state(TRANSITION[ending.state], ending.code, ending.message)
        self._wake.set()

    def _live(self) -> None:
        try:
            self._wake.wait(self._boot_seconds())
            if self._ending is None and not self.guest.root.exists():
                self.guest.prepare(self._image)
            while self._boot():
                self._watch()
        except (ImageError, OSError) as error:
            # The thread ends here: print the error now.
            traceback.print_exc(file=sys.stderr)
            with self._lock:
                self._announce(Ending("terminated", "Server.InternalError", f"Server.InternalError: {error}", 0))
        finally:
            self._finish()

    def _boot(self) -> bool:
        """Start the processes; False when the instance is to end instead."""
        limits = self._limits()
        with self._lock:
            if self._ending is not None:
                return False
            self._rebooting = False
            self._init = self._start(limits)
            self.record.set_state("running")
        self.run_due(lambda schedule: schedule.at_boot)
        return True

    # A machine overrides this.

    def _start(self, limits: ProcessLimits) -> InitProcess:
        """Start what is the instance. Raises ImageError, OSError."""
        program, scripts = self._programs()
        init = InitProcess(
            environment=self._environment(),
            console=self.guest.console,
            working_folder=self.guest.root,
            pid_file=self.guest.pid_file,
            grace_seconds=self._surroundings.grace_seconds,
            program=program,
            ends_with_program=False,
            limits=limits,
        )
        if scripts:
            init.run(scripts)
        return init

    # Hostile mode overrides these.

    def _boot_seconds(self) -> float:
        return self._surroundings.boot_seconds

    def _programs(self) -> tuple[list[str], str]:
        """What runs at this boot: the user data's program, and a shell command of boot scripts."""
        return self.guest.take_first_boot(self.record.user_data), self.guest.boot_scripts()

    def _environment(self) -> dict[str, str]:
        around = self._surroundings
        metadata_url = around.open_metadata(self.record.id)
        return self.guest.environment(around.state_folder, around.endpoints, metadata_url)

    def _limits(self) -> ProcessLimits:
        try:
            return self._surroundings.limiter.of(self.record.id, self.record.memory_bytes, self.record.cpus)
        except OSError as error:
            self.guest.log(f"no limit set: {error}")
            return NO_LIMITS

    def _watch(self) -> None:
        """Follow the processes to their end."""
        init = self._init
        assert init is not None
        for message in init.messages():
            if message == "reboot":
                self._rebooting = True
            elif message == "shutdown":
                self._end_from_inside("its shutdown command")
        status = init.wait()
        with self._lock:
            self._init = None
        if status != 0:
            processes.kill_marked(self.guest.marker)
            self.guest.log("init was killed")
            self._end_from_inside("its first process was killed")

    def _end_from_inside(self, why: str) -> None:
        with self._lock:
            if self._ending is None:
                message = f"{SELF_SHUTDOWN}: Instance initiated shutdown ({why})"
                self._announce(Ending(self.record.end_state, SELF_SHUTDOWN, message, self._surroundings.grace_seconds))

    def _finish(self) -> None:
        with self._lock:
            ending = self._ending or Ending("terminated", "Server.InternalError", "Server.InternalError", 0)
            self._init = None
            self._thread = None
            if ending.state == "terminated":
                self.ended_at = time.monotonic()
            self._surroundings.limiter.release(self.record.id)
            self.record.set_state(ending.state, ending.code, ending.message)
        if ending.state == "terminated":
            self.record.release()
            self.guest.empty()
        self._on_end(self.record.id)
