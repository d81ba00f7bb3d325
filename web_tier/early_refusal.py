"""Refuses a photo in the server's loop while there is no place for it: a thread and Flask would take far longer."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qs

from flask import Flask

from shoal.errors import ShoalError
from web_tier.problems import Problem
from web_tier.waitress_bodies import Head

log = logging.getLogger(__name__)

DOOR = "/v1/label"  # its answers do not depend on what the client accepts
TOLD_SECONDS = 10.0  # between two lines of the log


class Refusing(Protocol):
    """A venue, see `web_tier.venues.Venue`."""

    def full(self, address: str) -> Problem | None: ...


class EarlyRefusal:
    """The answer to a request that would be refused by its venue. Used by the server's loop alone.

    venue_named: the venue that a request names, "" for none; raises ShoalError for one that is not offered.
    """

    def __init__(self, app: Flask, venue_named: Callable[[str], Refusing], trusted_proxy: str, proxies: int) -> None:
        self._app = app
        self._venue_named = venue_named
        self._proxy, self._proxies = trusted_proxy, proxies
        self._count = 0
        self._told_at = 0.0
        self._parts = lru_cache(maxsize=64)(self._made)

    def __call__(self, head: Head) -> bytes | None:
        """A whole answer; None for a request that the app answers."""
        if head.path != DOOR or head.method != "POST":
            return None
        client = client_of(head.address, head.headers.get("X_FORWARDED_FOR", ""), self._proxy, self._proxies)
        try:
            venue = self._venue_named("".join(parse_qs(head.query).get("venue", ())))
        except ShoalError:
            return None  # the app says what is wrong with it
        refusal = venue.full(client)
        if refusal is None:
            return None
        self._tell()
        first, rest = self._parts(refusal.status, str(refusal), refusal.retry_after)
        return first + formatdate(usegmt=True).encode() + rest

    def _made(self, status: int, message: str, retry_after: int | None) -> tuple[bytes, bytes]:
        """The answer as the app makes it, before and after its date."""
        with self._app.test_request_context(DOOR, method="POST"):
            response = self._app.make_response(self._app.handle_user_exception(Problem(status, message, retry_after)))
            response = self._app.process_response(response)
            body = response.get_data()
            headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
            return f"HTTP/1.1 {response.status}\r\n{headers}Date: ".encode("latin-1"), b"\r\n\r\n" + body

    def _tell(self) -> None:
        self._count += 1
        now = time.monotonic()
        if now - self._told_at >= TOLD_SECONDS:
            log.info("POST %s: %d photos refused, too many wait", DOOR, self._count)
            self._count, self._told_at = 0, now


def client_of(peer: str, forwarded: str, proxy: str, proxies: int = 1) -> str:
    """The address of a client. forwarded: the header of a proxy, believed if `proxy` is "*" or the peer's address.

    proxies: how many proxies stand in a row. Each adds the address of its client, so what stands further left a client
    can write itself.
    """
    if not forwarded or proxy not in ("*", peer):
        return peer
    return forwarded.split(",")[-proxies:][0].strip()
