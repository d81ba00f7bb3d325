"""The HTTP server: waitress, configured for streams and large uploads. It stops within two seconds."""

from __future__ import annotations

import logging
import resource
import threading
import time
from collections.abc import Collection
from functools import partial
from typing import Any

from flask import Flask
from waitress.server import create_server

from shoal.lifecycle import listen
from shoal.settings import Settings
from web_tier import waitress_bodies, waitress_internals, waitress_ready
from web_tier.access.turns import TurnQueue, Urgency
from web_tier.early_labels import EarlyLabels
from web_tier.early_refusal import Doorkeeper, EarlyRefusal, client_of
from web_tier.routes.contracts import changing_gets
from web_tier.schemas.bodies import PHOTO_FORM_BYTES, body_limit
from web_tier.services import EXTENSION, Services

log = logging.getLogger(__name__)

STOP_SECONDS = 1.5
LEAST_SECONDS = 0.5  # for the requests that run, when the services took long to stop
FLUSH_SECONDS = 0.3
HEALTH = ("/healthz", "/readyz")
ANSWERS = ("/batches", "/v1/batches", "/runs", "/v1/runs", "/v1/forecasts")
MOST_FILES = 16_384  # 1,900 connections, 4,000 open pages, each form's files, and the calls to the cloud
BACKLOG = 1024  # connections that wait to be accepted

# waitress sends each piece of a response at once, because the default of its send_bytes is 1. So a generator can yield
# server-sent events without any flushing.
ADJUSTMENTS: dict[str, Any] = {
    "backlog": BACKLOG,
    "ident": None,
    # Seldom reached: beyond MOST_CONNECTIONS the silent ones make room, within a second.
    "connection_limit": waitress_internals.MOST_CONNECTIONS + 10 * waitress_internals.ACCEPTED_AT_ONCE,
    "channel_request_lookahead": 1,  # read on during a request, to notice a client that has left
    "max_request_body_size": PHOTO_FORM_BYTES,
    "recv_bytes": 128 * 1024,
    "log_socket_errors": False,
    "channel_timeout": 120,
    "cleanup_interval": 10,
}


class WebServer:
    """Serves one app in its own thread. Call `start` once, then `stop` once."""

    def __init__(self, app: Flask, host: str, port: int, threads: int) -> None:
        """Bind the port. Raises SettingsError when it is not free, and WaitressMovedError for another waitress."""
        _allow_many_files()
        self._services: Services = app.extensions[EXTENSION]
        self._map: dict[int, Any] = {}
        # waitress leaves threads and files behind when it cannot bind, so the socket is made before.
        listening = listen(host, port, BACKLOG)
        settings = self._services.settings
        adjustments = ADJUSTMENTS | (_behind(settings) if settings.trusted_proxy else {})
        self._server = create_server(app, map=self._map, sockets=[listening], threads=threads, **adjustments)
        waitress_internals.check(self._server)
        refusal = EarlyRefusal(app, self._services.venues.named, settings.trusted_proxy, settings.trusted_proxies)
        entrance = self._services.entrance
        self._doorkeeper = Doorkeeper(app, entrance, settings.prefix) if entrance.signs_in else None
        welcome = (self._doorkeeper,) if self._doorkeeper else ()
        waitress_bodies.limit_bodies(self._server, body_limit(app), refusal, *welcome)
        if label := self._services.later():
            early = EarlyLabels(app, self._services, label)
            waitress_ready.answer_without_thread(self._server, early.takes, early.begin)
        loop = waitress_internals.EventLoop(self._server)
        limit = self._services.connections
        waitress_internals.limit_connections(self._server, self._map, limit.opened, limit.closed)
        sort = partial(_sorted, changing_gets(app), settings.trusted_proxy, settings.trusted_proxies)
        waitress_internals.give_turns(self._server, TurnQueue(threads, sort, waitress_internals.refuse))
        self._services.comparisons.address = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._thread = threading.Thread(target=loop.run, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return waitress_internals.port(self._server)

    def start(self) -> None:
        """Start to serve."""
        self._services.start()
        self._thread.start()

    def stop(self) -> None:
        """Close the port, end open streams and waiting requests, and stop the threads, within two seconds."""
        requests_end = time.monotonic() + STOP_SECONDS
        waitress_internals.run_in_loop(self._server, lambda: waitress_internals.close_port(self._server))
        self._services.stop()
        if self._doorkeeper:
            self._doorkeeper.stop()
        waitress_internals.end_threads(self._server, max(LEAST_SECONDS, requests_end - time.monotonic()))
        deadline = time.monotonic() + FLUSH_SECONDS
        while time.monotonic() < deadline and waitress_internals.has_unsent(self._server):
            self._thread.join(0.02)
        # The loop ends when its map is empty. Close the sockets only then: the trigger that wakes the loop is one.
        sockets: list[Any] = []

        def empty_map() -> None:
            sockets.extend(self._map.values())
            self._map.clear()

        waitress_internals.run_in_loop(self._server, empty_map)
        self._thread.join(FLUSH_SECONDS)
        for open_socket in sockets:
            open_socket.close()


def _allow_many_files() -> None:
    """Let this process have up to MOST_FILES files and connections, if it may. Many systems begin with 1,024."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(MOST_FILES, most)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _behind(settings: Settings) -> dict[str, Any]:
    """waitress drops these headers from everybody else."""
    headers = {"x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"}
    count = settings.trusted_proxies
    return {"trusted_proxy": settings.trusted_proxy, "trusted_proxy_count": count, "trusted_proxy_headers": headers}


def _sorted(changing_gets: Collection[str], proxy: str, proxies: int, channel: Any) -> tuple[Urgency, str]:
    """How urgent a request is, and the address of its client."""
    method, path, peer, forwarded = waitress_internals.request_of(channel)
    address = client_of(peer, forwarded, proxy, proxies)
    if path in HEALTH or path.startswith("/static/"):
        return Urgency.HEALTH, address
    if method in ("POST", "PUT", "PATCH") or path in changing_gets:
        return Urgency.PHOTOS, address
    return Urgency.ANSWER if path.startswith(ANSWERS) else Urgency.PAGE, address
