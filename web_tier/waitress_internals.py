"""The calls into waitress that its documentation does not promise. They stand in this file alone.

A clean stop needs them: close the port, wake the loop, end the threads, and let the last answers go out. Limits on
bodies need them too: waitress has one limit for all requests. waitress keeps them private, so `check` compares them
with the version that this file was written for (3.0) before a server starts.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import ChunkedReceiver, FixedStreamReceiver
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher
from waitress.trigger import trigger
from waitress.utilities import BadRequest

from shoal.errors import ShoalError

METHODS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (wasyncore.dispatcher, "close", ("self",)),
    (trigger, "pull_trigger", ("self", "thunk")),
    (ThreadedTaskDispatcher, "shutdown", ("self", "cancel_pending", "timeout")),
    (TcpWSGIServer, "run", ("self",)),
    (HTTPRequestParser, "__init__", ("self", "adj")),
    (HTTPRequestParser, "received", ("self", "data")),
    (HTTPRequestParser, "parse_header", ("self", "header_plus")),
    (HTTPChannel, "handle_close", ("self",)),
    (FixedStreamReceiver, "__init__", ("self", "cl", "buf")),
    (ChunkedReceiver, "__init__", ("self", "buf")),
)
"""Each method that is called: the class, its name, and the parameters that it must have."""

ATTRIBUTES: tuple[tuple[type, str], ...] = (
    (HTTPChannel, "total_outbufs_len"),
    (HTTPChannel, "parser_class"),
    (HTTPChannel, "request"),
    (HTTPRequestParser, "body_rcv"),
    (HTTPRequestParser, "body_bytes_received"),
    (HTTPRequestParser, "content_length"),
    (HTTPRequestParser, "chunked"),
    (HTTPRequestParser, "expect_continue"),
    (HTTPRequestParser, "completed"),
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


def limit_connections(server: Any, may_connect: Callable[[str, list[str]], bool]) -> None:
    """Close a new connection at once unless may_connect(its address, the addresses of those that are open).

    Call it after `limit_bodies` and before the server runs.
    """
    make_channel = server.channel_class

    def accept(owner: Any, connection: Any, address: Any, adj: Any, **options: Any) -> Any:
        if may_connect(address[0], [channel.addr[0] for channel in owner.active_channels.values()]):
            return make_channel(owner, connection, address, adj, **options)
        return connection.close()

    server.channel_class = accept


# Limits on bodies

DROPPED_BYTES = 64 * 1024 * 1024  # a client that still sends would see a broken connection instead of the answer
PIECE_BYTES = 16 * 1024  # waitress copies the rest of its input for each chunk of a chunked body
MOST_LINE_BYTES = 16 * 1024  # the line before a chunk, and the trailer
MOST_FRAMING_BYTES = 64 * 1024  # around the chunks, and an eighth of their content: many tiny chunks cost much time


def limit_bodies(server: Any, limit: Callable[[str, str, str], int]) -> None:
    """Keep at most limit(method, path, content type) bytes of each body. Call it before the server runs.

    The rest of a larger body is dropped. The app then gets an empty body, a Content-Length above the limit and a
    connection that closes after the answer.
    """
    parser = partial(LimitedParser, limit=limit)

    class LimitedChannel(HTTPChannel):  # type: ignore[misc] # waitress has no types
        parser_class = staticmethod(parser)

        def handle_close(self) -> None:
            super().handle_close()
            if self.request is not None:  # waitress leaves the file of a body that has not arrived whole
                self.request.close()

    server.channel_class = LimitedChannel


class LimitedParser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    """Reads one request and drops a body that is too large while it arrives."""

    completed: bool
    expect_continue: bool

    def __init__(self, adj: Any, limit: Callable[[str, str, str], int]) -> None:
        super().__init__(adj)
        self._limit = limit
        self._most = 0
        self._dropping = False

    def received(self, data: bytes) -> int:
        """Take input. Returns how many bytes belong to this request."""
        if self.completed:
            return 0
        if self.body_rcv is None:
            consumed = int(super().received(data))
            if self.body_rcv is not None and not self.completed:
                self._check_head()
            return consumed
        consumed = int(super().received(data[:PIECE_BYTES] if self.chunked else data))
        self._check_body()
        cut = self._dropping and self.body_bytes_received > self._most + DROPPED_BYTES
        if cut:
            self.completed = True
        if self._dropping and self.completed:
            self.headers["CONTENT_LENGTH"] = str(max(self.content_length, self.body_bytes_received))
        return len(data) if cut else consumed  # what follows a body that was cut is no request

    def parse_header(self, header_plus: bytes) -> None:
        """Read the head. Raises ParsingError."""
        try:
            super().parse_header(header_plus)
        except ValueError as error:  # Python refuses a number of 5,000 digits
            raise ParsingError("The head of the request is invalid") from error

    def _check_head(self) -> None:
        path = "/" + self.path.lstrip("/")  # as the environment of the app has it
        self._most = self._limit(self.command, path, self.headers.get("CONTENT_TYPE", ""))
        if self.content_length > self._most:
            self._drop()
            # A client that asks first gets the answer instead of the permission to send.
            self.completed, self.expect_continue = self.expect_continue, False

    def _check_body(self) -> None:
        if self.chunked and self._is_hostile(self.body_rcv):
            self.error = BadRequest("The chunks of the body are too small, or their lines too long")
            self.completed = True
        elif self.body_bytes_received > self._most and not self._dropping:
            self._drop()

    def _is_hostile(self, chunks: ChunkedReceiver) -> bool:
        content = len(chunks)
        if self.body_bytes_received - content > MOST_FRAMING_BYTES + content // 8:
            return True
        return max(len(chunks.control_line), len(chunks.trailer)) > MOST_LINE_BYTES

    def _drop(self) -> None:
        self._dropping = True
        self.headers["CONNECTION"] = "close"
        kept = self.body_rcv.getbuf()
        self.body_rcv.buf = _Nowhere(len(kept))
        kept.close()


class _Nowhere:
    """A waitress buffer that counts bytes and keeps none."""

    def __init__(self, count: int) -> None:
        self._count = count

    def append(self, data: bytes) -> None:
        """Count `data` and drop it."""
        self._count += len(data)

    def __len__(self) -> int:
        return self._count

    def getfile(self) -> BytesIO:
        """An empty body."""
        return BytesIO()

    def close(self) -> None:
        """Nothing to free."""
