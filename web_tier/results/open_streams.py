"""Sends server-sent events to all open pages without a thread for each.

One thread owns the sockets of the pages. It sends what is ready, and notices who has left. A few threads ask the
streams for their next events, because a stream may read from the buckets. A stream that has nothing to say holds none.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

log = logging.getLogger(__name__)

THREADS = 16
STALLED_SECONDS = 60.0  # a client that takes nothing for so long is gone
JOIN_SECONDS = 0.5
PIECE_BYTES = 256 * 1024  # events are asked for only while less than this waits to be sent

_RECEIVE_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Wait:
    """What a stream says when it has no event now.

    at_most: ask again after so many seconds, or at once when there is news. at_least: not before, news or not.
    """

    at_most: float
    at_least: float = 0.0


class EventSource(Protocol):
    """A stream of events."""

    def run(self, on_news: Callable[[], None]) -> Iterator[str | Wait]:
        """The events. on_news: to be called, from any thread, when there is something new after a Wait."""


@dataclass(slots=True, eq=False)
class _Page:
    connection: socket.socket
    chunked: bool
    ended: Callable[[], None]
    unsent: bytearray
    events: Iterator[str | Wait] = field(default_factory=lambda: iter(()))
    asked: bool = False  # a thread asks its stream at this moment
    news: bool = False
    over: bool = False  # the stream has ended: close when everything is sent
    gone: bool = False  # the client has left
    least: float = 0.0  # do not ask before
    due: float = 0.0  # ask then at the latest
    planned: float = 0.0  # when it is looked at again, if that is in the future
    sent_at: float = field(default_factory=time.monotonic)


class OpenStreams:
    """The pages with an open stream. Safe for many threads. Call `start` once, then `stop` once.

    most: how many there may be.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._count = 0
        self._counting = threading.Condition()
        self._pages: set[_Page] = set()
        self._due: list[tuple[float, int, _Page]] = []
        self._number = itertools.count()
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._closed = threading.Event()
        self._selector: selectors.BaseSelector
        self._wakes: socket.socket  # a byte sent there ends the wait of the selector
        self._woken: socket.socket
        self._askers = ThreadPoolExecutor(THREADS, thread_name_prefix="stream")
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def reserve(self) -> bool:
        """Take a place for one more page. Returns False when there is none."""
        with self._counting:
            if self._stopping or self._count >= self._most:
                return False
            self._count += 1
            return True

    def release(self) -> None:
        """Give a place back that was reserved and never used."""
        with self._counting:
            self._count -= 1

    def add(
        self, connection: socket.socket, head: bytes, chunked: bool, source: EventSource, ended: Callable[[], None]
    ) -> None:
        """Send the events of `source` to a client, in a place that was reserved.

        connection: is closed at the end. head: the head of the answer. chunked: whether it announces chunks.
        ended: called once when the page is closed.
        """
        connection.setblocking(False)
        with suppress(OSError, AttributeError):  # Linux only: a client that vanished is noticed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * STALLED_SECONDS))
        page = _Page(connection, chunked, ended, bytearray(head))
        page.events = source.run(lambda: self._tell(page))
        self._call(lambda: self._open(page))

    def start(self) -> None:
        """Start the threads."""
        self._selector = selectors.DefaultSelector()
        self._wakes, self._woken = socket.socketpair()
        self._wakes.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """Let each stream say its last events, then close all within `seconds`."""
        with self._counting:
            self._stopping = True
            if self._count:
                self._call(self._ask_all)
            self._counting.wait_for(lambda: not self._count, seconds)
        self._closed.set()
        if self._thread.is_alive():
            self._call(lambda: None)
            self._thread.join(JOIN_SECONDS)
        self._askers.shutdown(wait=False, cancel_futures=True)

    def _call(self, action: Callable[[], None]) -> None:
        """Have the thread of the sockets call `action`."""
        self._calls.append(action)
        with suppress(OSError):  # full: it is awake already; closed: it has ended
            self._wakes.send(b"\0")

    def _tell(self, page: _Page) -> None:
        """There are news for a page. They lie in its mailbox already, so telling once is enough until it is asked."""
        if not page.news:
            page.news = True
            self._call(lambda: self._look(page))

    # All that follows is called by the thread of the sockets alone, but for _ask.

    def _run(self) -> None:
        while not self._closed.is_set():
            pause = max(0.0, self._due[0][0] - time.monotonic()) if self._due else None
            for key, _ in self._selector.select(pause):
                if key.data is None:
                    with suppress(BlockingIOError):
                        while self._woken.recv(_RECEIVE_BYTES):
                            pass
                else:
                    self._serve(key.data)
            while self._calls:
                self._calls.popleft()()
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                page = heapq.heappop(self._due)[2]
                page.planned = 0.0
                self._look(page)
        for page in list(self._pages):
            self._close(page)
        self._selector.close()
        self._wakes.close()
        self._woken.close()

    def _open(self, page: _Page) -> None:
        self._pages.add(page)
        self._selector.register(page.connection, selectors.EVENT_READ, page)
        self._send(page)
        self._ask_soon(page)

    def _serve(self, page: _Page) -> None:
        """The socket of a page can be read or written."""
        try:
            page.gone = not page.connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            self._send(page)
        except OSError:
            page.gone = True
        self._look(page)

    def _ask_all(self) -> None:
        for page in list(self._pages):
            page.news, page.least = True, 0.0
            self._look(page)

    def _look(self, page: _Page) -> None:
        """Do what is to be done for a page now: close it, ask its stream, or set the time for that."""
        if page not in self._pages:
            return
        now = time.monotonic()
        stalled = page.unsent and now - page.sent_at > STALLED_SECONDS
        if page.gone or stalled or (page.over and not page.unsent):
            self._close(page)
        elif page.asked:
            return
        elif page.unsent:
            self._plan(page, now + STALLED_SECONDS)
        elif not page.over:
            at = page.least if page.news else max(page.due, page.least)
            if at <= now:
                self._ask_soon(page)
            else:
                self._plan(page, at)

    def _plan(self, page: _Page, at: float) -> None:
        if not time.monotonic() < page.planned <= at:
            page.planned = at
            heapq.heappush(self._due, (at, next(self._number), page))

    def _ask_soon(self, page: _Page) -> None:
        page.asked, page.news = True, False
        self._hand_over(self._ask, page)

    def _hand_over(self, action: Callable[[_Page], None], page: _Page) -> None:
        with suppress(RuntimeError):  # at a stop, when these threads have ended
            self._askers.submit(action, page)

    def _ask(self, page: _Page) -> None:
        """Take events from a stream until it waits, ends, or has said much."""
        pieces: list[bytes] = []
        size, wait = 0, Wait(0)
        over = False
        try:
            for said in page.events:
                if isinstance(said, Wait):
                    wait = said
                    break
                pieces.append(said.encode())
                size += len(pieces[-1])
                if size > PIECE_BYTES:
                    break
            else:
                over = True
        except Exception:
            log.exception("a stream of events ends")
            over = True
        self._call(lambda: self._said(page, b"".join(pieces), wait, over))

    def _said(self, page: _Page, text: bytes, wait: Wait, over: bool) -> None:
        now = time.monotonic()
        page.asked, page.over = False, over
        page.least, page.due = now + wait.at_least, now + wait.at_most
        if page not in self._pages:
            self._hand_over(_free, page)
            return
        if self._stopping:
            page.news, page.least = True, 0.0
        if not page.unsent:
            page.sent_at = now
        page.unsent += _framed(text, over) if page.chunked else text
        self._send(page)
        self._look(page)

    def _send(self, page: _Page) -> None:
        had = bool(page.unsent)
        try:
            while page.unsent:
                sent = page.connection.send(page.unsent[:PIECE_BYTES])
                del page.unsent[:sent]
                page.sent_at = time.monotonic()
        except BlockingIOError:
            pass
        except OSError:
            page.gone = True
            page.unsent.clear()
        if had:
            writes = selectors.EVENT_WRITE if page.unsent else 0
            self._selector.modify(page.connection, selectors.EVENT_READ | writes, page)

    def _close(self, page: _Page) -> None:
        self._pages.discard(page)
        self._selector.unregister(page.connection)
        page.connection.close()
        if not page.asked:
            self._hand_over(_free, page)
        page.ended()
        with self._counting:
            self._count -= 1
            self._counting.notify_all()


def _free(page: _Page) -> None:
    """Let a stream that has not come to its end free what it holds."""
    close = getattr(page.events, "close", None)
    if close is not None:
        close()


def _framed(text: bytes, over: bool) -> bytes:
    """A chunk of a chunked body, and its end."""
    chunk = b"%x\r\n%b\r\n" % (len(text), text) if text else b""
    return chunk + b"0\r\n\r\n" if over else chunk
