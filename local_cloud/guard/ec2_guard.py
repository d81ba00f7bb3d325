"""The guard in front of moto: a WSGI layer, the outermost."""

import io
from collections.abc import Callable, Iterable
from typing import Any

from ministack.core.iam_actions import access_denied_response

from local_cloud.guard.gate import HOSTS, Gate, names_this_machine
from local_cloud.guard.refusal import Refused
from local_cloud.guard.signatures import SignedRequest, signed_service

# moto's own paths: they reset it and switch its checks off.
EMULATOR_PATHS = ("/moto-api",)
Application = Callable[..., Iterable[bytes]]


class Ec2Guard:
    """Passes on calls that are signed, and lets no page of any origin read an answer."""

    def __init__(self, app: Application, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if not names_this_machine(environ.get("HTTP_HOST", "")):
            return _tell(start_response, 403, {"Content-Type": "text/plain"}, HOSTS.encode())
        if environ.get("PATH_INFO", "").startswith(EMULATOR_PATHS):
            return _tell(start_response, 404, {"Content-Type": "text/plain"}, b"there is no such path")
        call = _call(environ)
        try:
            self._gate.check_claim(call)
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            self._gate.check(call.with_body(body))
        except Refused as refusal:
            return _tell(
                start_response,
                *access_denied_response(
                    signed_service(call) or "ec2",
                    *("", "", "guard"),
                    error_code=refusal.code,
                    message=refusal.message,
                    headers=dict(call.headers),
                ),
            )
        return self._app(environ, _without_cors(start_response))


def _call(environ: dict[str, Any]) -> SignedRequest:
    path, _, query = environ["RAW_URI"].partition("?")
    headers = {
        name.removeprefix("HTTP_").lower().replace("_", "-"): value.encode("latin-1").decode("utf-8", "replace")
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")
    }
    return SignedRequest(environ["REQUEST_METHOD"], path, query, headers)


def _tell(start_response: Callable[..., Any], status: int, headers: dict[str, str], body: bytes) -> list[bytes]:
    start_response(f"{status} Refused", [*headers.items(), ("Content-Length", str(len(body)))])
    return [body]


def _without_cors(start_response: Callable[..., Any]) -> Callable[..., Any]:
    """A `start_response` without moto's permissions for pages of other origins."""

    def guarded(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
        kept = [(name, value) for name, value in headers if not name.lower().startswith("access-control-")]
        return start_response(status, kept, *rest)

    return guarded
