"""Connections to hosts that strangers name: public addresses only, resolved once, pinned, and cut at a deadline."""

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
from web_tier.outside.addresses import Place, public

log = logging.getLogger(__name__)

RESOLVING_AT_ONCE = 16
CONNECT_SECONDS = 5.0
_NOT_THERE = "the address cannot be reached"

Resolve = Callable[[str, int], list[str]]
Dial = Callable[[str, int, float], socket.socket]


def resolve(host: str, port: int) -> list[str]:
    """Every address of a host. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def dial(address: str, port: int, seconds: float) -> socket.socket:
    """A connection to an address. Raises OSError."""
    return socket.create_connection((address, port), timeout=seconds)


class GuardedConnections:
    """Opens connections. One for all requests; safe for many threads.

    too_slow: what to say when the deadline is over.
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

    @contextmanager
    def open(self, place: Place, deadline: float) -> Iterator[socket.socket]:
        """A connection to the place, encrypted where its scheme says so, and cut at `deadline` (`time.monotonic()`).

        Raises BadImage when it cannot be had; ssl.SSLError and OSError leave the block as they are.
        """
        line = self._connect(place, deadline)
        try:
            if place.scheme == "https":
                # The handshake comes later, when the deadline is watched.
                line = _context().wrap_socket(line, server_hostname=place.host, do_handshake_on_connect=False)
            with _ending_at(deadline, line):
                if isinstance(line, ssl.SSLSocket):
                    line.do_handshake()
                yield line
        finally:
            line.close()

    def _connect(self, place: Place, deadline: float) -> socket.socket:
        problem: OSError | None = None
        for address in self._allowed(place, deadline):
            left = min(CONNECT_SECONDS, deadline - time.monotonic())
            if left <= 0:
                raise BadImage(self._too_slow)
            try:
                line = self._dial(address, place.port, left)
            except OSError as error:
                problem = error
                continue
            line.settimeout(max(0.1, deadline - time.monotonic()))
            return line
        log.info("cannot connect to %s: %s", place.url, problem)
        raise BadImage(_NOT_THERE)

    def _allowed(self, place: Place, deadline: float) -> list[str]:
        """The addresses of the host; one that is not public spoils them all, for the next answer may have only it."""
        try:
            asked = self._resolvers.submit(self._resolve, place.host, place.port)
            found = asked.result(max(0.0, deadline - time.monotonic()))
        except ResolveTimeout:
            raise BadImage(self._too_slow) from None
        except (OSError, UnicodeError):
            raise BadImage("the host in the address is not known") from None
        if f"{place.host}:{place.port}" in self._own:
            return found
        if not found or not all(public(address) for address in found):
            log.warning("refused to connect to %s, which is at %s", place.host, ", ".join(found) or "no address")
            raise BadImage("the host in the address is not on the public internet")
        return found


@contextmanager
def _ending_at(deadline: float, line: socket.socket) -> Iterator[None]:
    """Cut the connection at the deadline: a timeout of each read alone lets a server send a byte now and then."""
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, (line,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _cut(line: socket.socket) -> None:
    try:
        # Not SSLSocket's own, which takes the encryption away under the hands of the thread that reads.
        socket.socket.shutdown(line, socket.SHUT_RDWR)
    except OSError:
        log.debug("a connection was closed already")


@cache
def _context() -> ssl.SSLContext:
    return ssl.create_default_context()
