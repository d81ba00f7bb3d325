"""What the models of other scalers share: a group of machines with a desired size, as an Auto Scaling group is one."""

from __future__ import annotations

import itertools
from contextlib import suppress

from shoal.errors import CapacityUnavailable
from simulator.world import Machine, World


class Group:
    """Machines with a desired size, between `least` and `most`.

    kills: whether a smaller size ends machines at once, with the photos that they have. Otherwise they drain.
    """

    def __init__(self, world: World, least: int, most: int, kills: bool = False) -> None:
        self._world = world
        self._least = least
        self._most = most
        self._kills = kills
        self._numbers = itertools.count(1)

    @property
    def staying(self) -> list[Machine]:
        """The machines that were not asked to leave, oldest first."""
        return [one for one in self._world.machines.values() if not one.leaving]

    @property
    def in_service(self) -> int:
        """Those of them that can work."""
        return sum(one.ready for one in self.staying)

    def resize(self, desired: int) -> int:
        """Launch, or end the newest. Returns the size that it has now."""
        desired = max(self._least, min(self._most, desired))
        staying = self.staying
        missing = desired - len(staying)
        if missing > 0:
            with suppress(CapacityUnavailable):
                self._world.launch([f"machine-{next(self._numbers)}" for _ in range(missing)])
        elif missing < 0:
            ids = [one.id for one in staying[missing:]]
            (self._world.terminate if self._kills else self._world.drain)(ids)
        return len(self.staying)
