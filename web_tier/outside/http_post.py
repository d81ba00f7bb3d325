"""One POST of some JSON to an address that a stranger named, under the same rules as a photo by address."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping

from shoal.errors import BadImage
from web_tier.outside.addresses import parse
from web_tier.outside.guarded_connection import Dial, GuardedConnections, Resolve, dial, resolve


class Poster:
    """Posts. One for all; safe for many threads. No redirect is followed, and of an answer only the status is read.

    seconds: the longest that one POST may take.
    own:     "host:port" pairs that the operator allows although they are not public.
    """

    def __init__(
        self, seconds: float, own: frozenset[str] = frozenset(), resolve: Resolve = resolve, dial: Dial = dial
    ) -> None:
        self._seconds = seconds
        self._own = own
        self._too_slow = f"the address did not answer within {seconds:g} s"
        self._lines = GuardedConnections(self._too_slow, own, resolve, dial)

    def check(self, url: str) -> None:
        """Raise BadImage when nothing would ever be posted there."""
        parse(url, self._own)

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer. Raises BadImage, which says why there is none."""
        place = parse(url, self._own)
        deadline = time.monotonic() + self._seconds
        try:
            with self._lines.open(place, deadline) as line:
                connection = http.client.HTTPConnection(place.host, place.port)
                connection.sock = line
                connection.putrequest("POST", place.target, skip_host=True, skip_accept_encoding=True)
                sent = {"Host": place.authority, "User-Agent": "Shoal", "Content-Type": "application/json"}
                for name, value in {**sent, **headers, "Connection": "close"}.items():
                    connection.putheader(name, value)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
                return connection.getresponse().status
        except (http.client.HTTPException, OSError) as error:
            if time.monotonic() >= deadline:
                raise BadImage(self._too_slow) from None
            raise BadImage(f"the connection broke: {error!r}") from None

    def stop(self) -> None:
        """End the threads that resolve names."""
        self._lines.stop()
