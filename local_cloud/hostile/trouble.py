"""Hostile mode in the host's process: EC2 calls, capacity, instances."""

from collections.abc import Callable
from pathlib import Path

from local_cloud.hostile.dice import Dice, Hostility
from local_cloud.hostile.ec2_calls import App, HostileEc2, ScarceCapacity
from local_cloud.hostile.instances import HostileInstance, Interrupt
from local_cloud.hostile.journal import FaultJournal
from local_cloud.machines.instance import InstanceRecord, Surroundings


class Trouble:
    """Holds the dice and the journal. Set `interrupt` to the host's own before the first launch."""

    interrupt: Interrupt

    def __init__(self, hostility: Hostility, journal_path: Path) -> None:
        self._dice = Dice(hostility)
        self._journal = FaultJournal(journal_path)
        self.capacity = ScarceCapacity(self._dice, self._journal)

    def around(self, moto: App) -> App:
        """Put an EC2 API that throttles and lags in front of moto."""
        return HostileEc2(moto, self._dice, self._journal)

    def instance(
        self,
        record: InstanceRecord,
        image: Path,
        folder: Path,
        surroundings: Surroundings,
        on_end: Callable[[str], None],
    ) -> HostileInstance:
        """Make an instance with a fate."""
        return HostileInstance(
            record,
            image,
            folder,
            surroundings,
            on_end,
            dice=self._dice,
            journal=self._journal,
            interrupt=self.interrupt,
        )
