"""Chooses the instance type, place and market of the next launch; remembers what had no capacity. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shoal.errors import CapacityUnavailable

# Not of the Nitro system (AWS' list, 2026): their metadata shows a tag that is set while they run only after a restart.
OLD_FAMILIES = frozenset(
    "c1 c3 c4 d2 f1 g2 g3 g3s h1 hs1 i2 i3 m1 m2 m3 m4 p2 p3 r3 r4 t1 t2 x1 x1e".split()  # noqa: SIM905 - easier to read
)


def blind_to_new_tags(types: Sequence[str]) -> list[str]:
    """Those of the instance types on which a worker cannot see a drain mark in the tags of its instance."""
    return [one for one in types if one.partition(".")[0] in OLD_FAMILIES]


@dataclass(frozen=True, slots=True)
class InstanceOption:
    """A kind of instance that can be launched.

    place: a subnet's id, or the name of an availability zone; "" leaves the choice to EC2.
    """

    instance_type: str
    place: str
    spot: bool

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.place or 'any zone'} ({'spot' if self.spot else 'on demand'})"


@dataclass(frozen=True, slots=True)
class Ask:
    """One RunInstances call: `count` instances of one option."""

    option: InstanceOption
    count: int

    def token(self) -> str:
        """A new client token that holds the option and the count, so that a repeated call is exactly the same.

        EC2 looks for a repeated token in one zone only. The longest names fit its limit of 64 characters.
        """
        market = "s" if self.option.spot else "o"
        return f"{secrets.token_hex(6)}/{self.option.instance_type}/{self.option.place}/{market}{self.count}"

    @classmethod
    def of(cls, token: str) -> Ask | None:
        """The call that a token stands for; None for a token that was not made here."""
        parts = token.split("/")
        if len(parts) != 4 or parts[3][:1] not in ("s", "o") or not parts[3][1:].isdecimal():
            return None
        return cls(InstanceOption(parts[1], parts[2], parts[3].startswith("s")), int(parts[3][1:]))


class InstanceChoice:
    """All options, the best first.

    types:          in the order of preference.
    places:         of equal rank: launches take turns between them, so that one zone's trouble does not stop all.
    spot_share:     the share of spot instances in the pool, 0 to 1.
    memory_seconds: how long an option without capacity is not tried again.
    steady:         a monotonic clock, in seconds.
    """

    def __init__(
        self,
        types: Sequence[str],
        places: Sequence[str],
        spot_share: float,
        memory_seconds: float,
        steady: Callable[[], float],
    ) -> None:
        self._types = list(types)
        self._places = list(places) or [""]
        self._spot_share = spot_share
        self._memory_seconds = memory_seconds
        self._steady = steady
        self._missing: dict[InstanceOption, float] = {}  # since when
        self._unknown: set[str] = set()  # types that the region does not have
        self._turn = 0

    def choose(self, count: int, total: int, spot: int) -> Ask:
        """Choose a call for `count` more instances beside `total`, of which `spot` are spot instances.

        Two calls are enough for both markets: the first launches one market's part, the second the rest.
        Raises CapacityUnavailable when no option had capacity a short while ago.
        """
        wanted_spot = min(count, max(0, round(self._spot_share * (total + count)) - spot))
        wanted = {True: wanted_spot, False: count - wanted_spot}
        for market in (True, False):
            if wanted[market] and (option := self._first(market)):
                return Ask(option, wanted[market])
        # The wanted market has no capacity: take the other market.
        for market in (False, True):
            if (self._spot_share > 0 or not market) and (option := self._first(market)):
                return Ask(option, count)
        # No countdown: a text that changes every second would give a new ledger entry in every tick.
        raise CapacityUnavailable(f"{self._reasons()}; not asked again for {self._memory_seconds:.0f} s after that")

    def _reasons(self) -> str:
        """Why nothing can be launched: types that are none, and those without capacity."""
        unknown = sorted({option.instance_type for option in self._missing} & self._unknown)
        kinds = sorted(str(option) for option in self._missing if option.instance_type not in self._unknown)
        return "; ".join(
            [f"EC2 knows no instance type {kind} here: set SHOAL_INSTANCE_TYPE" for kind in unknown]
            + ([f"EC2 had no {', '.join(kinds)}"] if kinds else [])
        )

    def _first(self, spot: bool) -> InstanceOption | None:
        now = self._steady()
        self._missing = {option: at for option, at in self._missing.items() if now - at < self._memory_seconds}
        self._turn += 1
        start = self._turn % len(self._places)
        places = self._places[start:] + self._places[:start]
        options = (InstanceOption(kind, place, spot) for kind in self._types for place in places)
        return next((option for option in options if option not in self._missing), None)

    def missing(self, option: InstanceOption, whole_market: bool = False) -> None:
        """Remember that an option had no capacity; with `whole_market`, that its whole market has none (a quota)."""
        places = self._places if whole_market else [option.place]
        types = self._types if whole_market else [option.instance_type]
        for kind in types:
            for place in places:
                self._missing[InstanceOption(kind, place, option.spot)] = self._steady()

    def unknown(self, instance_type: str) -> None:
        """Remember that the region does not have a type, in any place and market."""
        self._unknown.add(instance_type)
        for spot in (False, True):
            for place in self._places:
                self.missing(InstanceOption(instance_type, place, spot))
