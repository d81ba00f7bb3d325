"""The venues of this server: the operator's choice, and those that a request may name."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from shoal import plugins
from shoal.errors import ShoalError
from web_tier.problems import Problem
from web_tier.venues import Venue, VenueParts

log = logging.getLogger(__name__)

PACKAGE = "web_tier.venues"


def find_venue(name: str) -> Callable[[VenueParts], Venue]:
    """What makes the venue of that name. Raises SettingsError for an unknown one."""
    make: Callable[[VenueParts], Venue] = plugins.load(name, PACKAGE, "make")
    return make


class OfferedVenues:
    """Makes the venues once. Raises SettingsError for an unknown one, and what the operator's choice raises.

    A further venue that cannot be made stops nothing: a request that names it is told why.
    """

    def __init__(self, chosen: str, further: Sequence[str], parts: VenueParts, can_offer_more: bool = True) -> None:
        self.chosen: Venue = find_venue(chosen)(parts)
        self._venues: dict[str, Venue] = {chosen: self.chosen}
        self._faults: dict[str, str] = {}
        self._can_offer_more = can_offer_more
        for name in further:
            if name not in self._venues:
                make = find_venue(name)
                try:
                    self._venues[name] = make(parts)
                except ShoalError as error:
                    log.warning("the venue %s is not available: %s", name, error)
                    self._faults[name] = str(error)

    @property
    def names(self) -> list[str]:
        """Those that a request may name, the operator's choice first; also one that could not be made."""
        return [*self._venues, *self._faults]

    def named(self, name: str) -> Venue:
        """The venue that a request names; the operator's choice for "". Raises Problem: 400, 403 or 501."""
        if not name:
            return self.chosen
        if name in self._faults:
            raise Problem(501, f"The venue {name} is not prepared here: {self._faults[name]}.")
        if name in self._venues:
            return self._venues[name]
        if name in plugins.available(PACKAGE) and self._can_offer_more:
            raise Problem(403, f"The venue {name} is not allowed here. The operator can add it to SHOAL_VENUES.")
        raise Problem(400, f"There is no venue {name[:60]!r}. These are: {', '.join(sorted(self._venues))}.")

    def stop(self) -> None:
        """End the threads of all venues."""
        for venue in self._venues.values():
            venue.stop()
