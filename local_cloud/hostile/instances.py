"""Instances with a fate: slow or hung boots, wrong clocks, interruptions, disappearances, cut networks."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from local_cloud.hostile import fates
from local_cloud.hostile.dice import Dice
from local_cloud.hostile.fates import Fate
from local_cloud.hostile.journal import FaultJournal
from local_cloud.hostile.relay import Relay
from local_cloud.machines.cron import Schedule
from local_cloud.machines.instance import Ending, InstanceRecord, InstanceRunner, Surroundings

CLOCK = Path(__file__).with_name("clock")
LOST = "Server.InternalError"

Interrupt = Callable[[str, str, float], None]
"""Interrupts an instance: its id, its final state, the seconds of notice."""


class HostileInstance(InstanceRunner):
    """An instance whose fate is drawn at its launch. Each fault is written to the journal when it happens."""

    def __init__(
        self,
        record: InstanceRecord,
        image: Path,
        folder: Path,
        surroundings: Surroundings,
        on_end: Callable[[str], None],
        *,
        dice: Dice,
        journal: FaultJournal,
        interrupt: Interrupt,
    ) -> None:
        super().__init__(record, image, folder, surroundings, on_end)
        self._dice = dice
        self._journal = journal
        self._interrupt = interrupt
        self._fate: Fate | None = None
        self._relay: Relay | None = None
        self._timers: list[threading.Timer] = []

    def start(self) -> None:
        if self._fate is None:
            self._fate = fates.draw(self._dice)
        super().start()

    @property
    def fate(self) -> Fate:
        """What goes wrong with it; nothing before its start."""
        return self._fate or Fate()

    def run_due(self, is_due: Callable[[Schedule], bool]) -> None:
        if not self.fate.hangs:
            super().run_due(is_due)

    def _boot_seconds(self) -> float:
        more = self.fate.slow_boot_seconds
        if more:
            self._note("slow-boot", f"boots for {more:.1f} s more")
        return super()._boot_seconds() + more

    def _programs(self) -> tuple[list[str], str]:
        if self.fate.hangs:
            self._note("hung-boot", "starts nothing")
            return [], ""
        return super()._programs()

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        if self.fate.partition is not None and self._relay is None:
            self._relay = Relay(self._surroundings.endpoints)
        if self._relay is not None:
            environment |= self._relay.endpoints
        if offset := self.fate.clock_offset_seconds:
            self._note("wrong-clock", f"is {offset:+.0f} s off")
            environment |= {"PYTHONPATH": str(CLOCK), "LOCAL_CLOUD_CLOCK_OFFSET_SECONDS": str(offset)}
        return environment

    def _boot(self) -> bool:
        booted = super()._boot()
        if booted and not self._timers:
            self._set_timers()
        return booted

    def _set_timers(self) -> None:
        fate = self.fate
        if fate.noticed_after_seconds is not None:
            self._after(fate.noticed_after_seconds, self._give_notice)
        if fate.vanishes_after_seconds is not None:
            self._after(fate.vanishes_after_seconds, self._vanish)
        if fate.partition is not None:
            self._after(fate.partition.after_seconds, self._cut)
            self._after(fate.partition.after_seconds + fate.partition.for_seconds, self._mend)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, act)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _give_notice(self) -> None:
        if self._ending is None:
            self._note("interruption", f"is told that it ends in {self.fate.notice_seconds:.1f} s")
            self._interrupt(self.record.id, "terminated", self.fate.notice_seconds)

    def _vanish(self) -> None:
        with self._lock:
            if self._ending is None and self._init is not None:
                self._note("vanishing", "is gone")
                self._announce(Ending("terminated", LOST, f"{LOST}: the machine under the instance has failed", 0.0))
                os.kill(self._init.pid, signal.SIGKILL)

    def _cut(self) -> None:
        if self._ending is None and self._relay is not None and self.fate.partition is not None:
            self._note("partition", f"is cut off for {self.fate.partition.for_seconds:.1f} s")
            self._relay.cut()

    def _mend(self) -> None:
        if self._relay is not None:
            self._relay.mend()

    def _finish(self) -> None:
        for timer in self._timers:
            timer.cancel()
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.close()
        super()._finish()

    def _note(self, kind: str, what: str) -> None:
        self._journal.note(kind, f"{self.record.id} {what}")
