"""The calls into waitress that its documentation does not promise. They stand in the files `waitress_*`.

A clean stop needs them: close the port, wake the loop, end the threads, and let the last answers go out. Limits on
bodies need them too: waitress has one limit for all requests. Streams of events need the connection itself, limits on
clients need to know when one is opened and closed. So does the loop: waitress asks every connection at every event what
it waits for. waitress keeps them private, so `check` compares them with the version that this file was written for
(3.0) before a server starts.
"""

from __future__ import annotations

import heapq
import inspect
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import ClientDisconnected, HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver, FixedStreamReceiver
from waitress.server import TcpWSGIServer
from waitress.task import Task, ThreadedTaskDispatcher, WSGITask
from waitress.trigger import trigger
from waitress.utilities import Error

from shoal.errors import ShoalError

METHODS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (wasyncore.dispatcher, "close", ("self",)),
    (wasyncore.dispatcher, "accept", ("self",)),
    (Task, "build_response_header", ("self",)),
    (WSGITask, "get_environment", ("self",)),
    (HTTPChannel, "__init__", ("self", "server", "sock", "addr", "adj", "map")),
    (HTTPChannel, "del_channel", ("self", "map")),
    (ThreadedTaskDispatcher, "add_task", ("self", "task")),
    (TcpWSGIServer, "handle_accept", ("self",)),
    (TcpWSGIServer, "maintenance", ("self", "now")),
    (TcpWSGIServer, "set_socket_options", ("self", "conn")),
    (Error, "to_response", ("self", "ident")),
    (trigger, "pull_trigger", ("self", "thunk")),
    (ThreadedTaskDispatcher, "shutdown", ("self", "cancel_pending", "timeout")),
    (wasyncore.dispatcher, "readable", ("self",)),
    (wasyncore.dispatcher, "writable", ("self",)),
    (TcpWSGIServer, "pull_trigger", ("self",)),
    (HTTPRequestParser, "__init__", ("self", "adj")),
    (HTTPRequestParser, "received", ("self", "data")),
    (HTTPRequestParser, "parse_header", ("self", "header_plus")),
    (HTTPChannel, "handle_close", ("self",)),
    (HTTPChannel, "_flush_some", ("self", "do_close")),
    (HTTPChannel, "_flush_exception", ("self", "flush", "do_close")),
    (HTTPChannel, "service", ("self",)),
    (HTTPChannel, "add_channel", ("self", "map")),
    (FixedStreamReceiver, "__init__", ("self", "cl", "buf")),
    (ChunkedReceiver, "__init__", ("self", "buf")),
)
"""Each method that is called: the class, its name, and the parameters that it must have."""

ATTRIBUTES: tuple[tuple[type, str], ...] = (
    (HTTPChannel, "total_outbufs_len"),
    (HTTPChannel, "current_outbuf_count"),
    (HTTPChannel, "parser_class"),
    (HTTPChannel, "request"),
    (HTTPChannel, "task_class"),
    (HTTPChannel, "last_activity"),
    (HTTPChannel, "will_close"),
    (Task, "wrote_header"),
    (Task, "chunked_response"),
    (Task, "close_on_finish"),
    (HTTPRequestParser, "headers_finished"),
    (HTTPRequestParser, "body_rcv"),
    (HTTPRequestParser, "body_bytes_received"),
    (HTTPRequestParser, "content_length"),
    (HTTPRequestParser, "chunked"),
    (HTTPRequestParser, "expect_continue"),
    (HTTPRequestParser, "completed"),
    (HTTPRequestParser, "empty"),
    (HTTPRequestParser, "connection_close"),
    (HTTPRequestParser, "version"),
    (ChunkedReceiver, "control_line"),
    (ChunkedReceiver, "trailer"),
)
"""Each attribute of a class that is used."""
SERVER_ATTRIBUTES = {
    "effective_port": str,
    "active_channels": dict,
    "task_dispatcher": ThreadedTaskDispatcher,
    "trigger": trigger,
    "channel_class": type,
    "adj": Adjustments,
}


class WaitressMovedError(ShoalError):
    """This version of waitress differs from the one that Shoal was written for; the text says where."""


def check(server: Any) -> None:
    """Look for everything that this file uses. Raises WaitressMovedError."""
    for owner, name, expected in METHODS:
        method = getattr(owner, name, None)
        parameters = tuple(inspect.signature(method).parameters) if method else None
        if parameters != expected:
            raise WaitressMovedError(_difference(f"{owner.__name__}.{name}", expected, parameters))
    for owner, name in ATTRIBUTES:
        if not hasattr(owner, name):
            raise WaitressMovedError(_difference(f"{owner.__name__}.{name}", "an attribute", None))
    for name, kind in SERVER_ATTRIBUTES.items():
        value = getattr(server, name, None)
        if not isinstance(value, kind):
            raise WaitressMovedError(_difference(f"the server's {name}", kind.__name__, type(value).__name__))


def _difference(what: str, expected: object, found: object) -> str:
    return f"waitress was upgraded and {what} has moved: expected {expected}, found {found}. Pin waitress to 3.0."


def port(server: Any) -> int:
    """The port that the server listens on."""
    return int(server.effective_port)


def run_in_loop(server: Any, action: Callable[[], None]) -> None:
    """Call `action` in the thread of the server's loop, which owns all its sockets."""
    server.trigger.pull_trigger(action)


def close_port(server: Any) -> None:
    """Accept no more connections; those that are open stay. Only in the thread of the loop."""
    wasyncore.dispatcher.close(server)


def end_threads(server: Any, seconds: float) -> None:
    """Wait up to `seconds` for the requests that run, then give up the others."""
    server.task_dispatcher.shutdown(timeout=seconds)


def has_unsent(server: Any) -> bool:
    """Whether some answer is not yet at its client."""
    return any(channel.total_outbufs_len for channel in list(server.active_channels.values()))


# Connections

ACCEPTED_AT_ONCE = 64  # a flood of connections that are refused does not wait for one look at all sockets each
MOST_CONNECTIONS = 1_900
HEAD_SECONDS = 20.0  # for the head of a request
BODY_SECONDS = 60.0  # after it, a body must have come with LEAST_RATE bytes a second
LEAST_RATE = 1024


def limit_connections(
    server: Any, sockets: dict[int, Any], opened: Callable[[str], bool], closed: Callable[[str], None]
) -> None:
    """Close a new connection at once unless opened(its address); closed(its address) is called at the end of others.

    Connections that send the head or the body of a request too slowly are closed. When there are more than
    MOST_CONNECTIONS, those that have been silent longest make room for the new ones.
    sockets: the map of the server's loop. Call it after `limit_bodies` and before the server runs.
    """

    class CountedChannel(server.channel_class):  # type: ignore[misc] # waitress has no types
        counted = True

        def del_channel(self, map: Any = None) -> None:
            super().del_channel(map)
            if self.counted:
                self.counted = False
                closed(self.addr[0])

    def accept() -> None:
        _accept_some(server, sockets, opened)
        _make_room(server)

    regular = server.maintenance

    def maintenance(now: float) -> None:
        regular(now)
        for channel in list(server.active_channels.values()):
            channel.will_close = channel.will_close or _is_too_slow(channel, now)

    server.channel_class = CountedChannel
    server.handle_accept = accept
    server.maintenance = maintenance


def _accept_some(server: Any, sockets: dict[int, Any], opened: Callable[[str], bool]) -> None:
    for _ in range(ACCEPTED_AT_ONCE):
        try:
            accepted = wasyncore.dispatcher.accept(server)
            if accepted is None:
                return
            server.set_socket_options(accepted[0])
        except OSError:
            return
        connection, address = accepted
        if opened(address[0]):
            server.channel_class(server, connection, address, server.adj, sockets)
        else:
            connection.close()


def _make_room(server: Any) -> None:
    if len(server.active_channels) <= MOST_CONNECTIONS:
        return
    staying = [one for one in server.active_channels.values() if not one.will_close]
    excess = len(staying) - MOST_CONNECTIONS
    if excess > 0:
        idle = [one for one in staying if not one.requests]
        for channel in heapq.nsmallest(excess, idle, key=lambda one: one.last_activity):
            # Not at once: a new connection might get its number, and events that were meant for the old one.
            channel.will_close = True


def _is_too_slow(channel: Any, now: float) -> bool:
    request = channel.request
    if channel.requests:
        return False
    if request is None:
        never_sent = channel.last_activity == channel.creation_time
        return bool(never_sent and now - channel.creation_time > HEAD_SECONDS)
    seconds = time.monotonic() - request.began
    if not request.headers_finished:
        return bool(seconds > HEAD_SECONDS)
    return bool(request.body_bytes_received < LEAST_RATE * (seconds - BODY_SECONDS))


TAKE_CONNECTION = "shoal.take_connection"
"""In the environment of a request: returns its socket, the peer's address, the head of the answer, and whether its body
must be in chunks. Call it while the answer is iterated; the app then sends the answer itself. waitress forgets the
connection and does not call closed(address) of `limit_connections`. Raises ClientDisconnected."""


class HandingTask(WSGITask):  # type: ignore[misc] # waitress has no types
    """Can hand its connection over to the app."""

    chunked_response: bool
    wrote_header: bool

    def write(self, data: bytes) -> None:
        if self.wrote_header or not data or len(data) != self.content_length or not self.has_body:
            super().write(data)
            return
        # The head and the body at once: for two pieces the client, too, is woken twice.
        self.content_bytes_written = len(data)
        head = self.build_response_header()
        self.wrote_header = True
        self.channel.write_soon(head + data)

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[TAKE_CONNECTION] = self._take
        return environ

    def _take(self) -> tuple[socket.socket, str, bytes, bool]:
        if not self.channel.connected or self.channel.total_outbufs_len:
            raise ClientDisconnected
        self.close_on_finish = True  # waitress closes its socket; the other one keeps the connection
        head = self.build_response_header()
        chunked, self.chunked_response = self.chunked_response, False
        self.wrote_header = True
        self.channel.counted = False
        return self.channel.socket.dup(), self.channel.addr[0], head, chunked


# Threads


def give_turns(server: Any, queue: Any) -> None:
    """Let `queue` say which request gets the next thread. Call it before the server runs."""
    dispatcher = server.task_dispatcher
    with dispatcher.lock:
        dispatcher.queue = queue
        waiting, dispatcher.queue_cv = dispatcher.queue_cv, LastInFirstOut(dispatcher.lock)
        waiting.notify_all()  # they go on to wait in the other one


def request_of(channel: Any) -> tuple[str, str, str, str]:
    """Of a request that waits for a thread: method, path, the peer's address, and its header X-Forwarded-For."""
    request = channel.requests[0]
    forwarded = getattr(request, "headers", {}).get("X_FORWARDED_FOR", "")
    return getattr(request, "command", None) or "", getattr(request, "path", ""), channel.addr[0], forwarded


def refuse(channel: Any) -> None:
    """Answer a request that waits for a thread with 503."""
    channel.requests[0].error = _Busy("Too many requests wait at the moment. Please try again shortly.")


class _Busy(Error):  # type: ignore[misc] # waitress has no types
    code = 503
    reason = "Service Unavailable"

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # noqa: ARG002 - waitress calls it so
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Retry-After", "10")]
        return f"{self.code} {self.reason}", headers, f"{self.body}\n".encode()


class LastInFirstOut:
    """What waitress uses of a Condition of `lock`, but it wakes the thread that began to wait last.

    So a few threads do all the work of a server with few requests, and their stacks stay small in number and in the
    processor's cache. A Condition would use all its 640 threads in turn.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._waiting: list[threading.Lock] = []

    def wait(self) -> None:
        """Wait until it is this thread's turn. The lock is free meanwhile."""
        turn = threading.Lock()
        turn.acquire()
        self._waiting.append(turn)
        self._lock.release()
        try:
            turn.acquire()
        finally:
            self._lock.acquire()

    def notify(self) -> None:
        """Wake one thread. Only with the lock."""
        if self._waiting:
            self._waiting.pop().release()

    def notify_all(self) -> None:
        """Wake all threads. Only with the lock."""
        while self._waiting:
            self.notify()


# The loop

ALL_SECONDS = 1.0  # after which every connection is asked again what it waits for: idle ones close by their age
READS, WRITES = select.EPOLLIN | select.EPOLLPRI, select.EPOLLOUT


class EventLoop:
    """Serves the sockets of a server, like waitress's own loop, but asks a connection what it waits for only when that
    may have changed: after an event of its own, or when a thread that answers it wakes the loop. With 256 connections
    the loop was a third of the work for a request that is refused.

    Make it after `limit_bodies` and before the server runs. `run` ends when nothing is left to serve.
    """

    def __init__(self, server: Any) -> None:
        self._map: dict[int, Any] = server._map
        self._poller = select.epoll()
        self._watched: dict[int, tuple[Any, int]] = {}
        self._changed: deque[Any] = deque()  # None: all
        self._answering = threading.local()
        self._watching = threading.Lock()  # between what a connection says that it waits for, and noting it
        wake = server.pull_trigger

        def pull_trigger() -> None:
            channel = getattr(self._answering, "channel", None)
            if channel is not None and self._is_watched(channel):
                return
            self._changed.append(channel)
            wake()

        server.pull_trigger = pull_trigger
        server.channel_class = self._noted(server.channel_class)

    def run(self) -> None:
        """Serve in this thread."""
        due = 0.0
        while self._map:
            now = time.monotonic()
            if now >= due:
                due = now + ALL_SECONDS
                self._changed.append(None)
            self._ask_changed()
            for file, flags in self._poller.poll(max(0.0, due - now)):
                if (served := self._map.get(file)) is not None:
                    wasyncore.readwrite(served, flags)
                    self._changed.append(served)
        self._poller.close()

    def _noted(self, channel_class: type) -> type:
        loop = self

        class NotedChannel(channel_class):  # type: ignore[misc] # waitress has no types
            def add_channel(self, map: Any = None) -> None:
                super().add_channel(map)
                loop._changed.append(self)

            def del_channel(self, map: Any = None) -> None:
                loop._forget(self._fileno)
                super().del_channel(map)

            def changed(self) -> None:
                loop._changed.append(self)

            def service(self) -> None:
                loop._answering.channel = self
                try:
                    super().service()
                finally:
                    loop._answering.channel = None

        return NotedChannel

    def _ask_changed(self) -> None:
        changed = set[Any]()
        while self._changed:
            changed.add(self._changed.popleft())
        if None in changed:
            for file in [file for file in self._watched if file not in self._map]:
                self._forget(file)
            changed = set(self._map.values())
        for one in changed:
            file = one._fileno
            if self._map.get(file) is one:
                self._watch(file, one)

    def _is_watched(self, one: Any) -> bool:
        """Whether the loop waits for just what the connection waits for, so that it need not be woken."""
        with self._watching:
            return self._watched.get(one._fileno) == (one, _flags(one))

    def _watch(self, file: int, one: Any) -> None:
        with self._watching:
            flags = _flags(one)
            if self._watched.get(file, (None, 0)) == (one, flags):
                return
            self._forget(file)
            if flags:
                self._poller.register(file, flags)
                self._watched[file] = one, flags

    def _forget(self, file: int) -> None:
        if self._watched.pop(file, None):
            with suppress(OSError, ValueError):  # it, or the poller, is closed already
                self._poller.unregister(file)


def _flags(one: Any) -> int:
    """The events that a connection waits for."""
    return (READS if one.readable() else 0) | (WRITES if one.writable() and not one.accepting else 0)
