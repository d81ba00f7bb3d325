"""The guard in front of ministack: an ASGI layer, the outermost."""

from collections.abc import Mapping
from typing import Any

import ministack.services.s3
from ministack.core.iam_actions import access_denied_response
from ministack.core.sigv4 import decode_header_value
from ministack.services import s3

from local_cloud import points
from local_cloud.exchange import App, HttpResponse, Message, Receive, Send, answer, read_body, replay, tell
from local_cloud.guard.gate import HOSTS, Gate, names_this_machine
from local_cloud.guard.refusal import Refused
from local_cloud.guard.services_needs import FUNCTION_URLS
from local_cloud.guard.signatures import SignedRequest, signed_service

HEALTH = "/_ministack/health"
# Paths of the emulator itself. They reset it, configure it and read its state without a signature.
EMULATOR_PATHS = ("/_ministack", "/_localstack", "/_aws", "/health")


class ServicesGuard:
    """Passes on calls that are signed, and sends no page of another origin more than the bucket's rules allow."""

    def __init__(self, app: App, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close"})

    async def _answer(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        path = scope["path"]
        if path == HEALTH and scope["method"] == "GET":
            await self._app(scope, receive, _without_cors(send, {}))
        elif not names_this_machine(headers.get("host", "")):
            await tell(send, answer(403, "text/plain", HOSTS.encode()))
        elif path.startswith(EMULATOR_PATHS) and not path.startswith(FUNCTION_URLS):
            await tell(send, answer(404, "text/plain", b"there is no such path"))
        elif scope["method"] == "OPTIONS":
            await tell(send, _preflight(path, headers))
        else:
            await self._pass_on(scope, headers, receive, send)

    async def _pass_on(self, scope: Message, headers: Mapping[str, str], receive: Receive, send: Send) -> None:
        raw_path = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
        call = SignedRequest(scope["method"], raw_path, scope["query_string"].decode("latin-1"), headers)
        cors = s3.cors_response_headers(_bucket(scope["path"]), call.method, headers)
        try:
            self._gate.check_claim(call)
            body = await read_body(receive)
            self._gate.check(call.with_body(body))
        except Refused as refusal:
            await tell(send, _refuse(call, refusal, cors))
            return
        await self._app(scope, replay(body, receive), _without_cors(send, cors))


def trust_the_guard() -> None:
    """Let ministack not check addresses that are signed: it does not know the keys, and the guard has checked them."""
    points.replace(ministack.services.s3, "_verify_presigned_sigv4", lambda _: lambda *_: None)


def _headers(scope: Message) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), decode_header_value(raw_value)
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _bucket(path: str) -> str:
    return path.strip("/").partition("/")[0]


def _preflight(path: str, headers: Mapping[str, str]) -> HttpResponse:
    """The answer to a browser's question about a bucket, by the bucket's own rules; refused for all else."""
    status, found, body = s3.cors_preflight(_bucket(path), "", dict(headers))
    return HttpResponse(status, tuple(_encoded(found)), b"").with_body(body)


def _refuse(call: SignedRequest, refusal: Refused, cors: Mapping[str, str]) -> HttpResponse:
    service = signed_service(call) or ("s3" if call.is_form or "x-amz-target" not in call.headers else "sqs")
    status, headers, body = access_denied_response(
        service, "", "", "guard", error_code=refusal.code, message=refusal.message, headers=dict(call.headers)
    )
    found = HttpResponse(status, (*_encoded(headers), *_encoded(cors)), b"")
    return found.with_body(b"" if call.method == "HEAD" else body)


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in headers.items()]


def _without_cors(send: Send, instead: Mapping[str, str]) -> Send:
    """A `send` that replaces ministack's permissions for pages of every origin by `instead`."""

    async def guarded(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept: list[Any] = [
                one for one in message.get("headers", ()) if not one[0].lower().startswith(b"access-control-")
            ]
            message = {**message, "headers": [*kept, *_encoded(instead)]}
        await send(message)

    return guarded
