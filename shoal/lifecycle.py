"""Start and stop of a long-running process: a lock file, its port, a stop by signal, and a time limit for the stop."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import signal
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TextIO

from shoal.errors import Permanent, SettingsError

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0  # less than what systemd and `shoal up` wait before they kill
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def steady() -> float:
    """Seconds by a clock that is never set. Unlike `time.monotonic`, it counts while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def peak_bytes(process: int | str = "self") -> int:
    """The most memory that a process has held at once (VmHWM of proc(5)), in bytes; 0 where the kernel hides it."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def keep_private(folder: Path) -> None:
    """Let only the owner read `folder`, and the files that this process and its children make from now on."""
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    found = folder.stat()
    # One that belongs to somebody else, or to all as /tmp does, stays as it is.
    if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
        folder.chmod(0o700)


WRONG_SETTING = 2  # the exit status of a program whose settings are wrong: another start would change nothing
_STOPPING = "stopping"
MOMENT_SECONDS = 1.0  # longer than a process takes for the few lines in which it has a lock file and no id in it
UP_LOCK, SERVE_LOCK = "up.lock", "serve.lock"  # in the state folder, held by `shoal up` and `shoal serve`


@contextmanager
def only_one(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock file during the block. Raises Permanent(otherwise) when another process holds it.

    The kernel releases the lock when the process ends, however it ends.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    # Who can open it can hold it, too.
    with open(lock, "a", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        # `holder` takes the lock for a moment, too, only to look.
        if not _comes_true(lambda: _locks(file, fcntl.LOCK_EX)):
            raise Permanent(otherwise)
        file.truncate(0)
        file.write(f"{os.getpid()}\n")  # for `holder`
        file.flush()
        yield


def _locks(file: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _comes_true(condition: Callable[[], bool]) -> bool:
    """Whether `condition` holds now or within a moment: for what another process is in the middle of."""
    deadline = time.monotonic() + MOMENT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def tell_stopping(lock: Path) -> None:
    """Note in the lock file, which this process holds, that it stops: see `is_stopping`."""
    with suppress(OSError), lock.open("a") as file:  # a full disk must not disturb the stop
        file.write(f"{_STOPPING}\n")


def is_stopping(lock: Path) -> bool:
    """Whether the process that holds the lock file has said that it stops. Raises Permanent, as `holder`."""
    return holder(lock) is not None and _STOPPING in lock.read_text().split()


def holder(lock: Path) -> int | None:
    """The id of the process that holds the lock file; None when no process holds it. Raises Permanent."""
    said = None

    def is_told() -> bool:
        nonlocal said
        said = _said(lock)
        return said is None or said.isdigit()

    # One that has just taken the lock has not yet written its id.
    if not _comes_true(is_told):
        raise Permanent(f"{lock} does not say which process holds it: stop it by hand")
    return said if said is None else int(said)


def _said(lock: Path) -> str | None:
    """The first line of the lock file; None when no process holds it."""
    with suppress(FileNotFoundError), lock.open("r") as file:
        if not _locks(file, fcntl.LOCK_SH):
            return file.readline().strip()
    return None


def listen(host: str, port: int, backlog: int = 1) -> socket.socket:
    """A socket that listens there. backlog: of connections. Raises SettingsError, which says what to do."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        raise SettingsError(_why_not(error, host, port)) from error


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: stop what uses it or set SHOAL_PORT"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user: set SHOAL_PORT to 1024 or more"
    return f"cannot listen on SHOAL_HOST={host!r}, SHOAL_PORT={port}: {error.strerror or error}"


def check_start(lock: Path, host: str, port: int) -> None:
    """Raise SettingsError where nobody can listen, before a process makes the folder of its lock file.

    While another process holds that, nothing is checked: it is the one that listens, and `only_one` says so.
    """
    if holder(lock) is None:
        listen(host, port).close()


def end_within(seconds: float = STOP_SECONDS) -> None:
    """Start a timer that ends the process with status 1 after `seconds`; call it at the start of the last steps.

    A call to a cloud that does not answer is repeated for two minutes, and a thread cannot be interrupted in it.
    """

    def end() -> None:
        log.warning("not stopped after %g s, a call to the cloud hangs: ending the process, nothing is lost", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def end_when_a_thread_dies() -> None:
    """From now on an error that ends a thread ends the process, with status 1.

    Without one of its threads a process looks alive and does not do its work. It ends at once, because an orderly stop
    may wait for what the thread no longer does. What started the process starts it again; nothing accepted is lost.
    """
    threading.excepthook = _end_with


def _end_with(died: threading.ExceptHookArgs) -> None:
    if died.exc_type is SystemExit or sys.is_finalizing():
        return
    name = died.thread.name if died.thread else "unknown"
    try:
        log.critical(
            "the thread %r died, and without it nothing gets on: this process ends, and systemd, cron or `shoal up` "
            "starts it again. Nothing is lost. If it ends again and again, report the error below",
            name,
            exc_info=died.exc_value,
        )
    finally:
        os._exit(1)


class StopSignal:
    """An event that SIGTERM, SIGINT, SIGHUP or code sets. Use `with StopSignal() as stop:` in the main thread.

    A second signal ends the process at once. SIGINT and SIGHUP stay ignored when the parent ignored them, as a script
    does for its background jobs and `nohup` does.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._old: dict[int, object] = {}
        self.reason = ""

    def __enter__(self) -> StopSignal:
        for number in SIGNALS:
            if number == signal.SIGTERM or signal.getsignal(number) is not signal.SIG_IGN:
                self._old[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._event.is_set():
            os._exit(128 + number)
        self.stop(signal.Signals(number).name)

    def stop(self, reason: str) -> None:
        """Request the stop; the first reason is kept."""
        self.reason = self.reason or reason
        self._event.set()

    @property
    def stopping(self) -> bool:
        """Whether a stop was requested."""
        return self._event.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until a stop is requested or `seconds` have passed. Returns `stopping`."""
        return self._event.wait(seconds)
