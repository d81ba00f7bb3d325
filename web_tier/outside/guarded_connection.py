"""Connections to hosts that strangers name: public addresses only, resolved once, pinned, and cut at a deadline.

Own code: no package on PyPI ends an exchange at one deadline and looks inside all addresses that contain another.
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as ResolveTimeout
from contextlib import contextmanager
from functools import cache

from shoal.errors import BadImage
from web_tier.outside.addresses import WebAddress, public

log = logging.getLogger(__name__)

RESOLVING_AT_ONCE = 16
CONNECT_SECONDS = 5.0
_UNREACHABLE = "the address cannot be reached"

Resolve = Callable[[str, int], list[str]]
Dial = Callable[[str, int, float], socket.socket]


def resolve(host: str, port: int) -> list[str]:
    """Resolve a host to all its IP addresses. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def dial(ip: str, port: int, seconds: float) -> socket.socket:
    """Connect to an IP address. Raises OSError."""
    return socket.create_connection((ip, port), timeout=seconds)


class NotPublic(BadImage):
    """The host is not on the public internet: no connection to it is ever made."""


class GuardedConnections:
    """Opens connections. One instance serves all requests; safe for many threads.

    too_slow: the error text when the deadline is over.
    own:      "host:port" pairs that the operator allows although they are not public.
    """

    def __init__(
        self,
        too_slow: str,
        own: frozenset[str] = frozenset(),
        resolve: Resolve = resolve,
        dial: Dial = dial,
    ) -> None:
        self._too_slow = too_slow
        self._own = own
        self._resolve = resolve
        self._dial = dial
        self._resolvers = ThreadPoolExecutor(RESOLVING_AT_ONCE, "resolve")

    def stop(self) -> None:
        """End the threads that resolve names."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    def check(self, address: WebAddress, deadline: float) -> None:
        """Raise NotPublic when the host is known by `deadline` and is not on the public internet."""
        try:
            self._allowed(address, deadline)
        except NotPublic:
            raise
        except BadImage as error:
            log.debug("%s is not known yet: %s", address.host, error)

    @contextmanager
    def open(self, address: WebAddress, deadline: float) -> Iterator[socket.socket]:
        """Connect, with TLS for https, and cut the connection at `deadline` (`time.monotonic()`).

        Raises BadImage when the host cannot be reached or may not be. ssl.SSLError and OSError pass through.
        """
        connection = self._connect(address, deadline)
        try:
            if address.scheme == "https":
                # The handshake comes later, when the deadline is enforced.
                connection = _context().wrap_socket(
                    connection, server_hostname=address.host, do_handshake_on_connect=False
                )
            with _ending_at(deadline, connection):
                if isinstance(connection, ssl.SSLSocket):
                    connection.do_handshake()
                yield connection
        finally:
            connection.close()

    def _connect(self, address: WebAddress, deadline: float) -> socket.socket:
        problem: OSError | None = None
        for ip in self._allowed(address, deadline):
            left = min(CONNECT_SECONDS, deadline - time.monotonic())
            if left <= 0:
                raise BadImage(self._too_slow)
            try:
                connection = self._dial(ip, address.port, left)
            except OSError as error:
                problem = error
                continue
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            return connection
        log.info("cannot connect to %s: %s", address.url, problem)
        raise BadImage(_UNREACHABLE)

    def _allowed(self, address: WebAddress, deadline: float) -> list[str]:
        """The IP addresses of the host. All must be public: the next DNS answer may have only the private address."""
        try:
            asked = self._resolvers.submit(self._resolve, address.host, address.port)
            found = asked.result(max(0.0, deadline - time.monotonic()))
        except ResolveTimeout:
            raise BadImage(self._too_slow) from None
        except (OSError, UnicodeError):
            raise BadImage("the host in the address is not known") from None
        if f"{address.host}:{address.port}" in self._own:
            return found
        if not found or not all(public(ip) for ip in found):
            log.warning("refused to connect to %s, which is at %s", address.host, ", ".join(found) or "no address")
            raise NotPublic("the host in the address is not on the public internet")
        return found


@contextmanager
def _ending_at(deadline: float, connection: socket.socket) -> Iterator[None]:
    """Cut the connection at the deadline. With timeouts for single reads, a server could drip for hours."""
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(connection: socket.socket) -> None:
    try:
        # SSLSocket.shutdown would remove the encryption while another thread reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
    except OSError:
        log.debug("a connection was closed already")


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
