"""ministack's function URLs at an address of this machine, with AWS' limit of a call.

ministack tells the address that AWS would give, https://<id>.lambda-url.<region>.on.aws/, which nobody reaches here.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable
from typing import Any

import ministack.services.lambda_svc

from local_cloud import points
from local_cloud.guard.services_needs import FUNCTION_URLS

MOST_BYTES = 6 * 1024 * 1024  # of the event that a call becomes; its body is in it as base64
_TOLD = re.compile(rb"https://([a-z0-9]{32})\.lambda-url\.[a-z0-9-]+\.on\.aws/")

Answer = tuple[int, dict[str, Any], bytes]


def hook() -> None:
    """Replace ministack's functions, once in a process."""
    points.replace(ministack.services.lambda_svc, "_create_function_url_config", _reachable)
    points.replace(ministack.services.lambda_svc, "_get_function_url_config", _reachable)
    points.replace(ministack.services.lambda_svc, "_update_function_url_config", _reachable)
    points.replace(ministack.services.lambda_svc, "_list_function_url_configs", _reachable)
    points.replace(ministack.services.lambda_svc, "handle_function_url_request", _limited)


def _reachable(original: Callable[..., Answer]) -> Callable[..., Answer]:
    here = f"http://{os.environ['MINISTACK_HOST']}:{os.environ['GATEWAY_PORT']}{FUNCTION_URLS}".encode()

    def tell(*arguments: Any, **named: Any) -> Answer:
        status, headers, body = original(*arguments, **named)
        return status, headers, _TOLD.sub(rb"%s\1/" % here, body)

    return tell


def _limited(original: Callable[..., Awaitable[Answer]]) -> Callable[..., Awaitable[Answer]]:
    async def call(url_id: str, method: str, path: str, headers: Any, body: bytes, *rest: Any, **named: Any) -> Answer:
        if 4 * len(body) / 3 > MOST_BYTES:
            words = f"Request must be smaller than {MOST_BYTES} bytes for the InvokeFunction operation"
            return 413, {"Content-Type": "application/json"}, json.dumps({"Message": words}).encode()
        return await original(url_id, method, path, headers, body, *rest, **named)

    return call
