"""Keeps one client from taking all connections of the web server."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from shoal.logs import WarnOnce
from web_tier.access.guesses import network

log = logging.getLogger(__name__)


class ConnectionLimit:
    """Lets each client address hold at most `most` connections; a trusted proxy, which stands for many, any number.

    Safe for many threads.
    """

    def __init__(self, most: int, trusted_proxy: str) -> None:
        self._most = most
        self._proxy = trusted_proxy
        self._held: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._told = WarnOnce(log)

    def opened(self, address: str) -> bool:
        """Count a new connection of `address`. Returns False, and counts nothing, when it holds enough."""
        client = network(address)
        with self._lock:
            if self._proxy in ("*", address) or self._held[client] < self._most:
                self._held[client] += 1
                return True
        self._told.warn(
            "%s has %d connections, more are closed: if it stands for many clients, name it in SHOAL_TRUSTED_PROXY or "
            "raise SHOAL_CONNECTIONS_PER_ADDRESS",
            address,
            self._most,
        )
        return False

    def closed(self, address: str) -> None:
        """A counted connection of `address` is closed."""
        client = network(address)
        with self._lock:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]
