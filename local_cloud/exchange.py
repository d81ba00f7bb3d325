"""Whole HTTP requests and answers on top of ASGI, which splits them into messages."""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


@dataclass(frozen=True)
class HttpResponse:
    """Status, headers (names in small letters) and body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    def with_body(self, body: bytes) -> "HttpResponse":
        """The same with another body."""
        kept = tuple(one for one in self.headers if one[0].lower() != b"content-length")
        return replace(self, headers=(*kept, (b"content-length", str(len(body)).encode())), body=body)


def answer(status: int, content_type: str, body: bytes) -> HttpResponse:
    """An answer with this body."""
    return HttpResponse(status, ((b"content-type", content_type.encode()),), b"").with_body(body)


def header(scope: Message, name: bytes) -> bytes:
    """The value of a request header; empty when it is missing."""
    return next((bytes(value) for key, value in scope["headers"] if key.lower() == name), b"")


async def read_body(receive: Receive) -> bytes:
    """The whole body of the request."""
    chunks = []
    more = True
    while more:
        message = await receive()
        chunks.append(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)
    return b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body first, then what comes after the body that was read."""
    given = False

    async def give() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


async def ask(app: App, scope: Message, body: bytes, receive: Receive) -> HttpResponse:
    """The answer of `app` to this request with another body. `receive` tells when the caller hangs up."""
    kept = [one for one in scope["headers"] if one[0].lower() not in (b"content-length", b"transfer-encoding")]
    asked = {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}
    found = HttpResponse(500, (), b"")

    async def collect(message: Message) -> None:
        nonlocal found
        if message["type"] == "http.response.start":
            headers = tuple((bytes(name), bytes(value)) for name, value in message.get("headers", ()))
            found = HttpResponse(message["status"], headers, b"")
        else:
            found = replace(found, body=found.body + message.get("body", b""))

    await app(asked, replay(body, receive), collect)
    return found


async def tell(send: Send, found: HttpResponse) -> None:
    """Send an answer."""
    await send({"type": "http.response.start", "status": found.status, "headers": list(found.headers)})
    await send({"type": "http.response.body", "body": found.body})
