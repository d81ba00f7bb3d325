"""How a long-running process begins and ends: one of a kind, stopped by a signal; the second signal ends it at once."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from shoal.errors import Permanent

log = logging.getLogger(__name__)

STOP_SECONDS = 10.0  # less than what systemd and `shoal up` wait before they kill
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def steady() -> float:
    """Seconds by a clock that nobody sets and that, unlike `time.monotonic`, goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@contextmanager
def only_one(lock: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock file for the length of the block. Raises Permanent(otherwise) when another process holds it.

    The kernel lets go of it at any end of the process, so none is ever left behind.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Permanent(otherwise) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")  # for whoever wants to stop us
        file.flush()
        yield


def end_within(seconds: float = STOP_SECONDS) -> None:
    """Before the last steps of a process that may be killed at any line: it ends by itself, or is ended with status 1.

    A call to a cloud that has gone silent is tried again for two minutes, and no thread can be taken out of it.
    """

    def end() -> None:
        log.warning("not stopped after %g s, a call to the cloud hangs: ended, nothing is lost", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


class StopSignal:
    """An event that SIGTERM, SIGINT, SIGHUP or code may set. `with StopSignal() as stop:` in the main thread.

    SIGINT and SIGHUP stay ignored where the starter ignored them: a script's background job and `nohup` do.
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
        """Ask for the stop from code."""
        self.reason = self.reason or reason
        self._event.set()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._event.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until a stop is asked for or `seconds` have passed; returns `stopping`."""
        return self._event.wait(seconds)
