"""Which machine to ask EC2 for next: type, place and market, and a memory of what was not to be had. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shoal.errors import CapacityUnavailable


@dataclass(frozen=True, slots=True)
class InstanceOption:
    """One kind of machine that can be asked for.

    place: a subnet's id, or the name of an availability zone; "" leaves the choice to EC2.
    """

    instance_type: str
    place: str
    spot: bool

    def __str__(self) -> str:
        return f"{self.instance_type} in {self.place or 'any zone'} ({'spot' if self.spot else 'on demand'})"


@dataclass(frozen=True, slots=True)
class Ask:
    """So many machines of one offer: one RunInstances call."""

    offer: InstanceOption
    count: int

    def token(self) -> str:
        """A new client token that says what is asked for, so that whoever repeats the call repeats it exactly.

        EC2 looks for a repeated token in one zone only. Its limit of 64 characters leaves room for the longest names.
        """
        market = "s" if self.offer.spot else "o"
        return f"{secrets.token_hex(6)}/{self.offer.instance_type}/{self.offer.place}/{market}{self.count}"

    @classmethod
    def of(cls, token: str) -> Ask | None:
        """What a token asks for; None when it was not made here."""
        parts = token.split("/")
        if len(parts) != 4 or parts[3][:1] not in ("s", "o") or not parts[3][1:].isdecimal():
            return None
        return cls(InstanceOption(parts[1], parts[2], parts[3].startswith("s")), int(parts[3][1:]))


class InstanceChoice:
    """All that may be asked for, the best first.

    types:          in the order of preference.
    places:         of equal rank: launches go round them, so that one zone's trouble is not everybody's.
    spot_share:     how much of the pool may be spot instances, 0 to 1.
    memory_seconds: how long what was missing is not asked for again.
    steady:         seconds by a clock that nobody sets.
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
        self._turn = 0

    def choose(self, count: int, total: int, spot: int) -> Ask:
        """What to ask for when `count` machines are wanted beside `total`, of which `spot` are spot instances.

        Both markets at most in two calls: the first asks for one market's part, the second for what is still wanted.
        Raises CapacityUnavailable when all there is was missing a short while ago.
        """
        wanted_spot = min(count, max(0, round(self._spot_share * (total + count)) - spot))
        wanted = {True: wanted_spot, False: count - wanted_spot}
        for market in (True, False):
            if wanted[market] and (offer := self._first(market)):
                return Ask(offer, wanted[market])
        # The market that the share asks for has nothing: on demand takes the place of spot, and spot of on demand.
        for market in (False, True):
            if (self._spot_share > 0 or not market) and (offer := self._first(market)):
                return Ask(offer, count)
        kinds = ", ".join(sorted(str(offer) for offer in self._missing))
        # No countdown: a text that changes every second would be news in every tick's ledger.
        raise CapacityUnavailable(f"EC2 had no {kinds}; not asked again for {self._memory_seconds:.0f} s after that")

    def _first(self, spot: bool) -> InstanceOption | None:
        now = self._steady()
        self._missing = {offer: at for offer, at in self._missing.items() if now - at < self._memory_seconds}
        self._turn += 1
        start = self._turn % len(self._places)
        places = self._places[start:] + self._places[:start]
        offers = (InstanceOption(kind, place, spot) for kind in self._types for place in places)
        return next((offer for offer in offers if offer not in self._missing), None)

    def missing(self, offer: InstanceOption, whole_market: bool = False) -> None:
        """Remember that this offer was not to be had; or none of its market, when a quota was the reason."""
        places = self._places if whole_market else [offer.place]
        types = self._types if whole_market else [offer.instance_type]
        for kind in types:
            for place in places:
                self._missing[InstanceOption(kind, place, offer.spot)] = self._steady()
