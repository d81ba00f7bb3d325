"""This controller's hold on the lease: of several controllers of a Shoal, one acts and the others stand by."""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

from shoal.errors import LeaseLost, ShoalError
from shoal.ports import Grant, Lease

log = logging.getLogger(__name__)

RENEWALS = 3  # per lease length, so that one failed call does not give it away


def holder_id(path: Path) -> str:
    """The id of a state folder's controller, made at its first start and kept there. The folder's lock keeps a second
    process from using it at the same time."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}"
        fresh = path.with_name(f".{path.name}-{made}")  # a dry run may start at the same moment
        fresh.write_text(made)
        fresh.replace(path)
    return path.read_text()


class Hold:
    """Takes and renews the lease, and knows at any moment whether it still holds. One thread.

    holder:  unique among all controllers, and the same after a restart, so that a restarted controller does not wait
             for its own lease to run out. Two processes must never use the same at once.
    seconds: how long the lease lasts after a renewal.
    steady:  seconds by a clock that nobody sets and that goes on while the machine sleeps.
    """

    def __init__(self, lease: Lease, holder: str, seconds: float, steady: Callable[[], float]) -> None:
        self._lease = lease
        self._holder = holder
        self._seconds = seconds
        self._steady = steady
        self._renewed: float | None = None
        self._told = ""
        self.token = 0

    def held(self) -> bool:
        """Whether this controller may act now: no other can have taken the lease yet. Ask right before each act."""
        return self._renewed is not None and self._steady() - self._renewed < self._seconds

    def attend(self) -> Grant | None:
        """Take or renew the lease when it is time to. Call it at the start of each tick, then `held`.

        Returns the grant when it is new: then read its notes and act on them first.
        """
        began = self._steady()  # before the call: the others count from its arrival at the earliest
        if self.held() and self._renewed is not None and began - self._renewed < self._seconds / RENEWALS:
            return None
        try:
            grant = self._lease.take(self._holder, self._seconds)
        except ShoalError as error:
            self._tell(logging.WARNING, f"cannot renew the lease, will go on trying: {error}")
            return None
        if grant is None:
            self._renewed = None
            self._tell(logging.INFO, "another controller holds the lease: standing by")
            return None
        anew = self._renewed is None or grant.token != self.token
        self._renewed, self.token = began, grant.token
        self._tell(logging.INFO, f"acting with token {grant.token}")
        return grant if anew else None

    def note(self, notes: str) -> None:
        """Write notes for the next holder. Raises LeaseLost, or Retryable when they may or may not be written."""
        if not self.held():
            raise LeaseLost("the lease has run out: another controller may act by now")
        self._lease.note(self.token, notes)

    def release(self) -> None:
        """Give the lease back, so that another controller can act at once."""
        if self._renewed is None:
            return
        self._renewed = None
        try:
            self._lease.release(self._holder)
        except ShoalError as error:
            log.warning("could not give the lease back, it runs out by itself: %s", error)

    def _tell(self, level: int, text: str) -> None:
        if text != self._told:
            log.log(level, "%s", text)
        self._told = text
