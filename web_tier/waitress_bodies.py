"""Limits on the bodies of requests, for waitress has one limit for all, and answers to requests that need no app.

What it calls in waitress is checked by `waitress_internals`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.receiver import ChunkedReceiver
from waitress.task import Task
from waitress.utilities import BadRequest

from web_tier.waitress_internals import HandingTask, run_in_loop
from web_tier.waitress_ready import Head, ReadyAnswer, ReadyTask, head_of

DROPPED_BYTES = 64 * 1024 * 1024  # a client that still sends would see a broken connection instead of the answer
FREE_BYTES = 128 * 1024  # a body of this size arrives with its head, and is not worth a question
PIECE_BYTES = 16 * 1024  # waitress copies the rest of its input for each chunk of a chunked body
MOST_LINE_BYTES = 16 * 1024  # the line before a chunk, and the trailer
MOST_FRAMING_BYTES = 64 * 1024  # around the chunks, and an eighth of their content: many tiny chunks cost much time


def limit_bodies(
    server: Any,
    limit: Callable[[str, str, str], int],
    refusal: Callable[[Head], bytes | None] = lambda _: None,
    welcome: Callable[[Head], bool | Future[bool]] = lambda _: True,
) -> None:
    """Keep at most limit(method, path, content type) bytes of each body. Call it before the server runs.

    The rest of a larger body is dropped. The app then gets an empty body, a Content-Length above the limit and a
    connection that closes after the answer.

    refusal: a whole answer to a request that is not to reach the app, or None. Called in the thread of the loop, which
             serves everybody, so it must be quick. The body is dropped while it arrives, and the connection stays open.
    welcome: whether the sender of a request with more than FREE_BYTES may send it; also called there. Until a Future
             has its result nothing more is read. Of who is not welcome the body is dropped as one that is too large,
             and the app answers.
    """
    rules = _Rules(limit, refusal, welcome)
    server.channel_class = type("LimitedChannel", (LimitedChannel,), {"rules": rules})


@dataclass(frozen=True, slots=True)
class _Rules:
    """What `limit_bodies` was told."""

    limit: Callable[[str, str, str], int]
    refusal: Callable[[Head], bytes | None]
    welcome: Callable[[Head], bool | Future[bool]]


class LimitedChannel(HTTPChannel):  # type: ignore[misc] # waitress has no types
    """A connection whose bodies are limited."""

    rules: _Rules
    waits = False

    def task_class(self, channel: Any, request: LimitedParser) -> Task:
        """What answers a request."""
        return HandingTask(channel, request) if request.ready is None else ReadyTask(channel, request, request.ready)

    def readable(self) -> bool:
        """Whether to read on."""
        return not self.waits and bool(super().readable())

    def parser_class(self, adj: Any) -> LimitedParser:
        """The reader of its next request."""
        return LimitedParser(adj, self.rules.limit, self)

    def refusal(self, request: LimitedParser) -> bytes | None:
        """The answer, if the request is refused now. Answers keep the order of requests, so only a lone one is."""
        if self.requests or request.version != "1.1" or request.connection_close:
            return None
        return self.rules.refusal(head_of(request, self))

    def welcomes(self, request: LimitedParser) -> bool:
        """Whether the body may come. If that is not known yet, reading stops until `request.settle` is called."""
        answer = self.rules.welcome(head_of(request, self))
        if not isinstance(answer, Future):
            return answer
        self.waits = True
        answer.add_done_callback(lambda found: run_in_loop(self.server, lambda: self._go_on(request, _result(found))))
        return True

    def changed(self) -> None:
        """It may be readable again. `EventLoop` asks it then."""

    def _go_on(self, request: LimitedParser, is_welcome: bool) -> None:
        self.waits = False
        self.changed()
        if self.request is request and self.connected:
            request.settle(is_welcome)

    def answer(self, whole: bytes) -> None:
        """Send an answer. Only in the thread of the loop, while no request is answered."""
        with self.outbuf_lock:
            self.outbufs[-1].append(whole)
            self.current_outbuf_count += len(whole)
            self.total_outbufs_len += len(whole)
            self._flush_exception(self._flush_some)

    def handle_close(self) -> None:
        """It is closed."""
        super().handle_close()
        if self.request is not None:  # waitress leaves the file of a body that has not arrived whole
            self.request.close()


class LimitedParser(HTTPRequestParser):  # type: ignore[misc] # waitress has no types
    """Reads one request, and drops a body that is too large or refused while it arrives."""

    completed: bool
    expect_continue: bool
    empty: bool
    ready: ReadyAnswer | None = None  # without the app

    def __init__(self, adj: Any, limit: Callable[[str, str, str], int], channel: Any) -> None:
        super().__init__(adj)
        self._limit = limit
        self._channel = channel
        self._refusal: bytes | None = None
        self._most = 0
        self._dropping = False
        self._continues = False
        self.began = time.monotonic()

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
        if self._refusal is not None:
            if self.completed:
                self.empty = True  # for waitress: nothing is left to do
                self._channel.answer(self._refusal)
            return consumed
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
        elif not self.chunked and not self.expect_continue:
            self._refusal = self._channel.refusal(self)
            if self._refusal is not None:
                self._forget_body()
                return
        if not self._dropping and (self.chunked or self.content_length > FREE_BYTES):
            self._check_sender()

    def _check_sender(self) -> None:
        if not self._channel.welcomes(self):
            self._most = 0
            self._drop()
            self.completed, self.expect_continue = self.expect_continue, False
        elif self._channel.waits:
            self._continues, self.expect_continue = self.expect_continue, False

    def settle(self, is_welcome: bool) -> None:
        """Go on with the body: keep it, or drop what comes. Only in the thread of the loop."""
        if not is_welcome:
            self._most = 0
            self._drop()
        if self._continues:
            self._channel.send_continue()

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
        self._forget_body()

    def _forget_body(self) -> None:
        kept = self.body_rcv.getbuf()
        self.body_rcv.buf = _Nowhere(len(kept))
        kept.close()


def _result(found: Future[bool]) -> bool:
    """False for a question that nobody answered any more: the server stops."""
    return not found.cancelled() and found.result()


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
