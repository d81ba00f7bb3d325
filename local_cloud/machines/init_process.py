"""The host's end of `init.py`: a process tree that dies with the host."""

import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from local_cloud.machines import programs
from local_cloud.machines.limits import NO_LIMITS, ProcessLimits

_INIT = Path(__file__).with_name("init.py")


class InitProcess:
    """One running init and everything below it.

    The host keeps one end of a socket pair. When the host dies, in whatever way, the kernel closes it and init kills
    all its processes. This needs no thread, no preexec_fn, and no PDEATHSIG, which follows threads and not processes.
    """

    def __init__(
        self,
        *,
        environment: Mapping[str, str],
        console: Path,
        working_folder: Path,
        pid_file: Path,
        grace_seconds: float,
        program: Sequence[str] = (),
        ends_with_program: bool = True,
        limits: ProcessLimits = NO_LIMITS,
        pass_fds: Sequence[int] = (),
        script: Path = _INIT,
    ) -> None:
        """Start it. `grace_seconds` is for a shutdown from inside; output is appended to `console`.

        ends_with_program: leave when the last process has ended; otherwise stay until told to stop.
        script: init.py, or a program that takes the same arguments. Raises OSError when it cannot be started.
        """
        self._control, theirs = socket.socketpair()
        with theirs, console.open("ab") as output:
            self._process = programs.start(
                [
                    *(sys.executable, "-I", "-S", str(script), str(grace_seconds)),
                    *(str(working_folder), str(pid_file), "with-program" if ends_with_program else "when-told"),
                    *(",".join(map(str, limits.cpus)), ":".join(map(str, limits.groups)), *program),
                ],
                stdin=theirs,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=working_folder,
                start_new_session=True,
                pass_fds=pass_fds,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, command: str) -> None:
        """Start a shell command inside. Does nothing when the tree is stopping or gone."""
        self._tell(f"run {command}")

    def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM to every process and SIGKILL after `grace_seconds`. Does not wait."""
        self._tell(f"stop {grace_seconds}")

    def messages(self) -> Iterator[str]:
        """The lines that init sends, until it is gone."""
        with self._control.makefile("r") as lines:
            try:
                for line in lines:
                    yield line.rstrip("\n")
            except ConnectionResetError:
                # Init died with unread commands: the same as an end of file.
                return

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Wait for its exit status: 0 if it ended in order, else it was killed. Raises subprocess.TimeoutExpired."""
        status = self._process.wait(timeout_seconds)
        self._control.close()
        return status

    def _tell(self, line: str) -> None:
        try:
            self._control.sendall(line.encode() + b"\n")
        except OSError:
            # Init has ended; the reader of its messages sees that.
            return
