"""Posts JSON to an address that a stranger chose, under the same rules as photos by address."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping

from shoal.errors import BadImage
from web_tier.outside.addresses import parse
from web_tier.outside.guarded_connection import Dial, GuardedConnections, Resolve, dial, resolve

CHECK_SECONDS = 2.0  # for the name server, while a client waits


class Poster:
    """Posts JSON. It follows no redirect, and reads only the status of an answer. Safe for many threads.

    seconds: the longest time of one POST.
    own:     "host:port" pairs that the operator allows although they are not public.
    """

    def __init__(
        self, seconds: float, own: frozenset[str] = frozenset(), resolve: Resolve = resolve, dial: Dial = dial
    ) -> None:
        self._seconds = seconds
        self._own = own
        self._too_slow = f"the address did not answer within {seconds:g} s"
        self._connections = GuardedConnections(self._too_slow, own, resolve, dial)

    def check(self, url: str) -> None:
        """Raise BadImage when `url` is not allowed. A host that nobody knows today may be known tomorrow."""
        self._connections.check(parse(url, self._own), time.monotonic() + CHECK_SECONDS)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post `body` and return the status of the answer.

        Raises BadImage, which says why there is no answer. NotPublic is one of them: there will never be an answer.
        """
        address = parse(url, self._own)
        deadline = time.monotonic() + self._seconds
        try:
            with self._connections.open(address, deadline) as connection:
                exchange = http.client.HTTPConnection(address.host, address.port)
                exchange.sock = connection
                exchange.putrequest("POST", address.target, skip_host=True, skip_accept_encoding=True)
                sent = {"Host": address.authority, "User-Agent": "Shoal", "Content-Type": "application/json"}
                for name, value in {**sent, **headers, "Connection": "close"}.items():
                    exchange.putheader(name, value)
                exchange.putheader("Content-Length", str(len(body)))
                exchange.endheaders(body)
                return exchange.getresponse().status
        except (http.client.HTTPException, OSError) as error:
            if time.monotonic() >= deadline:
                raise BadImage(self._too_slow) from None
            raise BadImage(f"the connection broke: {error!r}") from None

    def stop(self) -> None:
        """End the threads that resolve host names."""
        self._connections.stop()
