"""What the server's loop knows of a request before its body has come: no place for its photo, or a sender who may not.

A thread and Flask would take far longer, and would have the whole body first.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from email.utils import formatdate
from functools import lru_cache
from typing import Protocol
from urllib.parse import parse_qs

from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_cookie
from werkzeug.routing import RoutingException

from shoal.errors import ShoalError
from web_tier.access import rights
from web_tier.access.entrance import Entrance
from web_tier.access.gate import session_cookie
from web_tier.access.rights import Right
from web_tier.problems import Problem
from web_tier.waitress_ready import Head

log = logging.getLogger(__name__)

DOORS = ("/v1/label", "/v1/batches")  # their answers do not depend on what the client accepts
LOOKING_THREADS = 4
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
        if head.path not in DOORS or head.method != "POST":
            return None
        if "IDEMPOTENCY_KEY" in head.headers:
            return None  # perhaps it was accepted before; then the app says so
        client = client_of(head.address, head.headers.get("X_FORWARDED_FOR", ""), self._proxy, self._proxies)
        try:
            venue = self._venue_named("".join(parse_qs(head.query).get("venue", ())))
        except ShoalError:
            return None  # the app says what is wrong with it
        refusal = venue.full(client)
        if refusal is None:
            return None
        self._tell(head.path)
        first, rest = self._parts(refusal.status, str(refusal), refusal.retry_after)
        return first + formatdate(usegmt=True).encode() + rest

    def _made(self, status: int, message: str, retry_after: int | None) -> tuple[bytes, bytes]:
        """The answer as the app makes it, before and after its date."""
        with self._app.test_request_context(DOORS[0], method="POST"):
            response = self._app.make_response(self._app.handle_user_exception(Problem(status, message, retry_after)))
            response = self._app.process_response(response)
            body = response.get_data()
            headers = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
            return f"HTTP/1.1 {response.status}\r\n{headers}Date: ".encode("latin-1"), b"\r\n\r\n" + body

    def _tell(self, door: str) -> None:
        self._count += 1
        now = time.monotonic()
        if now - self._told_at >= TOLD_SECONDS:
            log.info("POST %s: %d requests refused lately, too many photos wait", door, self._count)
            self._count, self._told_at = 0, now


class Doorkeeper:
    """Whether the sender of a request may use its route, where people sign in. The app asks once more.

    It answers at once to who shows neither a session nor a key. The others' are looked up in the bucket, by threads.
    """

    def __init__(self, app: Flask, entrance: Entrance, prefix: str) -> None:
        self._app = app
        self._routes = app.url_map.bind("localhost")
        self._entrance = entrance
        self._cookie = session_cookie(prefix)
        self._threads = ThreadPoolExecutor(LOOKING_THREADS, "doorkeeper")

    def __call__(self, head: Head) -> bool | Future[bool]:
        """Called by the server's loop alone."""
        right = self._right(head)
        if right is Right.NOTHING:
            return True
        scheme, _, key = head.headers.get("AUTHORIZATION", "").partition(" ")
        has_key = scheme.lower() == "bearer"
        shown = key.strip() if has_key else parse_cookie(head.headers.get("COOKIE", "")).get(self._cookie, "")
        if not shown:
            return False
        try:
            return self._threads.submit(self._may, right, shown, has_key)
        except RuntimeError:
            return True  # the server stops, and the app says so

    def stop(self) -> None:
        """Answer no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _right(self, head: Head) -> Right:
        path = "/" + head.path.lstrip("/").encode("latin-1", "replace").decode(errors="replace")
        try:
            endpoint, _ = self._routes.match(path, head.method)
        except (HTTPException, RoutingException):
            return Right.NOTHING  # there is no such route: its answer needs no large body
        return rights.needed(self._app, endpoint)

    def _may(self, right: Right, shown: str, is_key: bool) -> bool:
        try:
            who = self._entrance.by_key(shown) if is_key else self._entrance.by_session(shown)
        except ShoalError:
            return True  # the app says that the bucket does not answer
        except Exception:  # without an answer the connection would wait for ever
            log.exception("who sends a request cannot be found out")
            return True
        return who is not None and who.may(right)


def client_of(peer: str, forwarded: str, proxy: str, proxies: int = 1) -> str:
    """The address of a client. forwarded: the header of a proxy, believed if `proxy` is "*" or the peer's address.

    proxies: how many proxies stand in a row. Each adds the address of its client, so what stands further left a client
    can write itself.
    """
    if not forwarded or proxy not in ("*", peer):
        return peer
    return forwarded.split(",")[-proxies:][0].strip()
