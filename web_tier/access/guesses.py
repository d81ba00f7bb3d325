"""Slows down guesses of passwords and of the operator's secret: each wrong guess of an address doubles its pause."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

from shoal.ports import Clock
from web_tier.problems import Problem

FREE = 3  # wrong guesses without a pause: people mistype
LONGEST_SECONDS = 300.0
FORGET_SECONDS = 3600.0
MOST_ADDRESSES = 10_000  # the oldest is forgotten

_NETWORK_BITS = 64  # one client owns all addresses of such an IPv6 network


Found = TypeVar("Found")


class Guesses:
    """Counts wrong guesses by address. Safe for many threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # network -> (wrong guesses, the last one)
        self._lock = threading.Lock()

    def guess(self, address: str, attempt: Callable[[], Found | None]) -> Found | None:
        """Let `address` guess once: the answer of `attempt`, which is None for a wrong guess.

        Raises Problem (429) while it has to wait, and what `attempt` raises.
        """
        if pause := self._pause(address):
            raise Problem(429, "Too many wrong passwords came from your address.", retry_after=math.ceil(pause))
        found = attempt()
        if found is None:
            self._note_wrong(address)
        else:
            self._forget(address)
        return found

    def _pause(self, address: str) -> float:
        """Seconds until `address` may guess again; 0 when it may now."""
        with self._lock:
            wrong, last = self._of(network(address))
        if wrong < FREE:
            return 0.0
        return max(0.0, last + min(2.0 ** (wrong - FREE), LONGEST_SECONDS) - self._clock.now())

    def _note_wrong(self, address: str) -> None:
        """Note a wrong guess."""
        guesser = network(address)
        with self._lock:
            self._wrong[guesser] = (self._of(guesser)[0] + 1, self._clock.now())
            self._wrong.move_to_end(guesser)
            while len(self._wrong) > MOST_ADDRESSES:
                self._wrong.popitem(last=False)

    def _forget(self, address: str) -> None:
        """Forget the wrong guesses of `address`."""
        with self._lock:
            self._wrong.pop(network(address), None)

    def _of(self, guesser: str) -> tuple[int, float]:
        wrong, last = self._wrong.get(guesser, (0, 0.0))
        return (wrong, last) if self._clock.now() - last < FORGET_SECONDS else (0, 0.0)


def network(address: str) -> str:
    """What one client can change its address within: the address itself, and in IPv6 its network of 64 bits."""
    try:
        known = ip_address(address)
    except ValueError:  # a Unix socket
        return address
    if isinstance(known, IPv6Address) and known.ipv4_mapped is None:
        return str(int(known) >> _NETWORK_BITS)
    return str(known)
