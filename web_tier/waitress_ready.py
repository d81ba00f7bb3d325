"""Answers to requests that need no thread of the server, for waitress gives one to each request.

What it calls in waitress is checked by `waitress_internals`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from waitress.task import Task

MOST_BODY_BYTES = 512 * 1024  # waitress keeps larger bodies in files, and the loop reads none


@dataclass(frozen=True, slots=True)
class ReadyAnswer:
    """An answer that is whole. headers: without the length of the body and the date."""

    status: str
    headers: Sequence[tuple[str, str]]
    body: bytes


class ReadyTask(Task):  # type: ignore[misc] # waitress has no types
    """Sends an answer that is whole."""

    complete = True

    def __init__(self, channel: Any, request: Any, answer: ReadyAnswer) -> None:
        super().__init__(channel, request)
        self.status, self.content_length = answer.status, len(answer.body)
        self.response_headers = list(answer.headers)
        self._body = answer.body

    def execute(self) -> None:
        """Send it."""
        head = self.build_response_header()
        self.wrote_header = True
        self.channel.write_soon(head + self._body)


@dataclass(frozen=True, slots=True)
class Head:
    """What is known of a request before its body. address: the peer's. headers: as waitress names them."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    address: str


def head_of(request: Any, channel: Any) -> Head:
    """The head of a request that a channel has read."""
    return Head(request.command, request.path, request.query, request.headers, channel.addr[0])


@dataclass(frozen=True, slots=True)
class WholeRequest:
    """A request with its body. left: tells whether the client has left."""

    head: Head
    body: bytes
    left: Callable[[], bool]


Send = Callable[[ReadyAnswer], None]
Begin = Callable[[WholeRequest, Send], bool]
"""Gets a request and what sends its answer. Returns whether it will call that, later and in another thread."""


def answer_without_thread(server: Any, takes: Callable[[str, str], bool], begin: Begin) -> None:
    """Let `begin` answer the small requests of which takes(method, path), before the server runs.

    Both are called in the thread of the loop, which serves everybody, so they must be quick. What `begin` does
    not want gets a thread, as all other requests do. Answers keep the order of a connection's requests.
    """
    regular = server.add_task

    def add_task(channel: Any) -> None:
        request = channel.requests[0]
        if request.error or not takes(request.command, request.path) or not _begun(channel, request, begin):
            regular(channel)

    server.add_task = add_task


def _begun(channel: Any, request: Any, begin: Begin) -> bool:
    if request.body_rcv is None or not 0 < len(request.body_rcv) <= MOST_BODY_BYTES:
        return False
    file = request.get_body_stream()
    if not isinstance(file, BytesIO):
        return False
    body = file.getvalue()  # not `read`, which would copy it

    def send(answer: ReadyAnswer) -> None:
        request.ready = answer
        channel.service()

    begun = begin(WholeRequest(head_of(request, channel), body, channel.check_client_disconnected), send)
    if begun:
        request.close()  # `begin` has the body: two of each photo that waits would be too many
    return begun
