"""Child processes that end with this process, and whose output is read as lines. No threads: see `Child.start`."""

from __future__ import annotations

import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from shoal.folders import import_path

# -P: the folder in which the user calls `shoal` may hold a file of the same name as a module.
PYTHON = [sys.executable, "-P"]
CODE = {"PYTHONPATH": import_path()} if import_path() else {}

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _ask_to_die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Child:
    """A child process and its log file."""

    def __init__(self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process. It gets SIGTERM when we die, and its own session, so that Ctrl-C reaches only us.

        Call it only while this process has one thread: otherwise the code between fork and exec is not safe.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
            preexec_fn=_ask_to_die_with_parent,
        )
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)

    def add_arguments(self, *arguments: str) -> None:
        """Add arguments for the next starts."""
        self._command += arguments

    def add_variables(self, variables: Mapping[str, str]) -> None:
        """Add variables to the environment of the next starts."""
        self._environment |= variables

    @property
    def pid(self) -> int:
        """The process id; 0 before the first start."""
        return self._process.pid if self._process else 0

    @property
    def status(self) -> int | None:
        """The exit status; None while the process runs."""
        return self._process.poll() if self._process else 0

    def fileno(self) -> int:
        """The file descriptor of its output."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def read_lines(self) -> list[str]:
        """Return the output since the last call, and append it to the log file."""
        chunks = []
        try:
            while chunk := os.read(self.fileno(), 65536):
                chunks.append(chunk)
        except BlockingIOError:
            pass
        text = b"".join(chunks)
        if text:
            with suppress(OSError), self.log.open("ab") as file:  # on a full disk the terminal still shows it
                file.write(text)
        return text.decode(errors="replace").splitlines()

    def ask_to_stop(self) -> None:
        """Send SIGTERM if the process runs."""
        if self._process and self.status is None:
            self._process.terminate()

    def ends_within(self, seconds: float) -> bool:
        """Wait up to `seconds` for the end of the process. Returns whether it has ended."""
        if self._process:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
        return True

    def stop(self, seconds: float) -> None:
        """Ask the process to stop and wait; kill it after `seconds`."""
        self.ask_to_stop()
        if self._process:
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self.read_lines()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


def wait_until(
    condition: Callable[[], bool],
    awaited: Child,
    children: Sequence[Child],
    seconds: float,
    on_line: Callable[[Child, str], None],
) -> bool:
    """Wait for `condition`, the end of `awaited` or the deadline; pass each line of the children to `on_line`.

    Returns whether the condition holds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline or awaited.status is not None:
            return condition()
        pump(children, 0.05, on_line)
    return True


def pump(children: Sequence[Child], seconds: float, on_line: Callable[[Child, str], None]) -> None:
    """Wait up to `seconds` for output of the children; pass each line to `on_line`."""
    with selectors.DefaultSelector() as selector:
        for child in children:
            selector.register(child, selectors.EVENT_READ, child)
        for key, _ in selector.select(seconds):
            for line in key.data.read_lines():
                on_line(key.data, line)
    # The output of a child that has ended is always readable, so `select` does not wait.
    if any(child.status is not None for child in children):
        time.sleep(min(seconds, 0.05))
