"""Keeps one client from taking all connections of the web server."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from shoal.logs import WarnOnce
from web_tier.access.guesses import network

log = logging.getLogger(__name__)


class ConnectionLimit:
    """Allows each client address at most `most` connections; a trusted proxy, which stands for many, any number."""

    def __init__(self, most: int, trusted_proxy: str) -> None:
        self._most = most
        self._proxy = trusted_proxy
        self._told = WarnOnce(log)

    def allows(self, address: str, open_now: Sequence[str]) -> bool:
        """Whether `address` may open one more connection beside those of the addresses `open_now`."""
        if self._proxy in ("*", address) or len(open_now) < self._most:
            return True
        client = network(address)
        if sum(network(one) == client for one in open_now) < self._most:
            return True
        self._told.warn(
            "%s has %d connections, more are closed: if it stands for many clients, name it in SHOAL_TRUSTED_PROXY or "
            "raise SHOAL_CONNECTIONS_PER_ADDRESS",
            address,
            self._most,
        )
        return False
