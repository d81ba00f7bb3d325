"""Sends an API key with each call of a session. `requests` drops it when an answer leads to another host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def bearer(key: str) -> Callable[[Any], Any]:
    """An `auth` for a session of requests. Unlike a header it is not replaced by what ~/.netrc says of the host."""

    def sign(request: Any) -> Any:
        request.headers["Authorization"] = f"Bearer {key}"
        return request

    return sign
