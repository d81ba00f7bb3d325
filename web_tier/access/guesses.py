"""Slows down guesses of passwords and of the operator's secret: each wrong guess of an address doubles its pause."""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from shoal.ports import Clock
from web_tier.problems import Problem

FREE = 3  # wrong guesses without a pause: people mistype
LONGEST_SECONDS = 300.0
FORGET_SECONDS = 3600.0
MOST_ADDRESSES = 10_000  # the oldest is forgotten
MOST_NAMES = 50  # of an address; the guesses of further ones count as those of nobody

_NETWORK_BITS = 64  # one client owns all addresses of such an IPv6 network


Found = TypeVar("Found")


class Guesses:
    """Counts wrong guesses by address. Safe for many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # network -> (wrong guesses by the name that was said, when the last one was)
        self._wrong: OrderedDict[str, tuple[Counter[str], float]] = OrderedDict()
        self._lock = threading.Lock()

    def guess(self, address: str, attempt: Callable[[], Found | None], name: str = "") -> Found | None:
        """Let `address` guess once: the answer of `attempt`, which is None for a wrong guess.

        name: whose password it is. The right one forgets the wrong guesses of this name alone: otherwise who has one
        could guess those of others without a pause.

        Raises Problem (429) while it has to wait, and what `attempt` raises.
        """
        if pause := self._pause(address):
            raise Problem(429, "Too many wrong passwords came from your address.", retry_after=math.ceil(pause))
        found = attempt()
        if found is None:
            self._note_wrong(address, _short(name))
        else:
            self._forget(address, _short(name))
        return found

    def _pause(self, address: str) -> float:
        """Seconds until `address` may guess again; 0 when it may now."""
        with self._lock:
            names, last = self._of(network(address))
            wrong = names.total()
        if wrong < FREE:
            return 0.0
        return max(0.0, last + min(2.0 ** (wrong - FREE), LONGEST_SECONDS) - self._clock.now())

    def _note_wrong(self, address: str, name: str) -> None:
        """Note a wrong guess."""
        guesser = network(address)
        with self._lock:
            names = self._of(guesser)[0]
            names[name if len(names) < MOST_NAMES else ""] += 1
            self._wrong[guesser] = (names, self._clock.now())
            self._wrong.move_to_end(guesser)
            while len(self._wrong) > MOST_ADDRESSES:
                self._wrong.popitem(last=False)

    def _forget(self, address: str, name: str) -> None:
        """Forget the wrong guesses of `name` from `address`."""
        guesser = network(address)
        with self._lock:
            names, last = self._of(guesser)
            names.pop(name, None)
            if names:
                self._wrong[guesser] = (names, last)
            else:
                self._wrong.pop(guesser, None)

    def _of(self, guesser: str) -> tuple[Counter[str], float]:
        names, last = self._wrong.get(guesser, (Counter[str](), 0.0))
        return (names, last) if self._clock.now() - last < FORGET_SECONDS else (Counter(), 0.0)


def _short(name: str) -> str:
    return name.strip().lower()[:64]


def network(address: str) -> str:
    """What one client can change its address within: the address itself, and in IPv6 its network of 64 bits."""
    try:
        known = ip_address(address)
    except ValueError:  # a Unix socket
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return str(int(known) >> _NETWORK_BITS)
    return str(known)
