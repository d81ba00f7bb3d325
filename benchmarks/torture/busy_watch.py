"""When each worker last finished a photo, seen from outside: the controller must never end a busy one."""

from __future__ import annotations

import time
from contextlib import suppress

from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.running.looking import Looking
from benchmarks.running.system import RunningSystem
from shoal.ledger import DoneAct

LOOK_SECONDS = 0.5
BUSY_SECONDS = 10.0  # a worker that finished a photo in this time is busy; its patience ends after 30 s of a run


class BusyWatch(Looking):
    """Looks into the register of the workers."""

    def __init__(self, system: RunningSystem) -> None:
        super().__init__(LOOK_SECONDS)
        self._system = system
        self._finished: dict[str, int] = {}
        self._moved: dict[str, float] = {}

    def look(self) -> None:
        table = self._system.settings.pool_table
        with suppress(BotoCoreError, ClientError, OSError):  # the cloud is away
            for item in self._system.client("dynamodb").scan(TableName=table)["Items"]:
                if "finished" in item:
                    self._note(item["id"]["S"], int(item["finished"]["N"]))

    def _note(self, worker: str, finished: int) -> None:
        if finished != self._finished.get(worker, 0):
            self._moved[worker] = time.time()
        self._finished[worker] = finished

    def told(self, act: DoneAct, at: float) -> list[tuple[str, str, bool]]:
        """Of each machine that was terminated: its id, what it did before, and whether it was busy.

        at: when, in seconds since 1970.
        """
        found = []
        for machine in act.machines:
            since = at - self._moved[machine] if machine in self._moved else None
            words = (
                "never finished a photo" if since is None else f"finished its last photo {max(0.0, since):.0f} s before"
            )
            found.append((machine, words, since is not None and 0 <= since < BUSY_SECONDS))
        return found
