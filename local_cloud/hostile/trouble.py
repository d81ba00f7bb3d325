"""What hostile mode does in the host's own process: EC2's calls, its capacity, and the instances."""

from collections.abc import Callable
from pathlib import Path

from local_cloud.hostile.dice import Dice, Hostility
from local_cloud.hostile.ec2_calls import App, HostileEc2, ScarceCapacity
from local_cloud.hostile.instances import HostileInstance, Interrupt
from local_cloud.hostile.journal import FaultJournal
from local_cloud.machines.instance import InstanceRecord, Surroundings


class Trouble:
    """One for the host. `interrupt` is the host's own, given before the first launch."""

    interrupt: Interrupt

    def __init__(self, hostility: Hostility, journal_path: Path) -> None:
        self._dice = Dice(hostility)
        self._journal = FaultJournal(journal_path)
        self.capacity = ScarceCapacity(self._dice, self._journal)

    def around(self, moto: App) -> App:
        """moto behind an EC2 API that throttles and lags."""
        return HostileEc2(moto, self._dice, self._journal)

    def instance(
        self,
        record: InstanceRecord,
        image: Path,
        folder: Path,
        surroundings: Surroundings,
        on_end: Callable[[str], None],
    ) -> HostileInstance:
        """An Instance with a fate."""
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
