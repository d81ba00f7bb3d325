"""How large the body of a request may be. The server drops a larger body while it arrives, and the app answers 413.

Where the route takes larger bodies of another content type the answer is 415: a smaller body would not help.

A view that takes more than a plain form says so with `takes`. So a new view is safe without a thought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from flask import Flask, current_app, request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RoutingException

from web_tier import words
from web_tier.problems import Problem

PLAIN_BYTES = 16 * 1024  # a form with a label or a secret
LIST_JSON_BYTES = 8 * 1024 * 1024  # 1,000 names of 1,000 characters, each at most 6 bytes
PHOTO_JSON_BYTES = 72 * 1024 * 1024  # photos in base64: the largest, 50 MB, has 68 MB with its line ends
PHOTO_FORM_BYTES = 64 * 1024**3  # the server keeps a form on disk, so the disk is the real limit

FORM = "multipart/form-data"
JSON = "application/json"
ANY = "*"  # each content type without a limit of its own

_ATTRIBUTE = "most_body_bytes"

View = TypeVar("View", bound=Callable[..., Any])
BodyLimit = Callable[[str, str, str], int]
"""(method, path, content type) of a request -> the largest body in bytes."""


def takes(limits: Mapping[str, int]) -> Callable[[View], View]:
    """Mark a view that takes larger bodies. limits: content type, or ANY -> the largest body in bytes."""

    def mark(view: View) -> View:
        setattr(view, _ATTRIBUTE, limits)
        return view

    return mark


def body_limit(app: Flask) -> BodyLimit:
    """The rule of `app` for its server. Safe for many threads."""
    routes = app.url_map.bind("localhost")

    def limit(method: str, path: str, content_type: str) -> int:
        try:
            endpoint, _ = routes.match(path.encode("latin-1").decode(errors="replace"), method)
        except (HTTPException, RoutingException):
            return PLAIN_BYTES
        return _limit(app, endpoint, content_type)

    return limit


def install(app: Flask) -> None:
    """Refuse larger bodies in `app` too, with the answer 413 or 415."""
    app.before_request(_check)


def _check() -> None:
    limit = _limit(current_app, request.endpoint, request.headers.get("Content-Type", ""))
    request.max_content_length = limit
    if (request.content_length or 0) > limit:
        kinds = [kind for kind in _limits(current_app, request.endpoint) if kind != ANY]
        if kinds and request.mimetype not in kinds:
            given = f"its Content-Type is {request.mimetype[:40]}" if request.mimetype else "it has no Content-Type"
            raise Problem(415, f"Send this body as {' or '.join(kinds)}: {given}.")
        raise Problem(413, f"The body of this request is too large: at most {words.size(limit)} here.")


def _limit(app: Flask, endpoint: str | None, content_type: str) -> int:
    limits = _limits(app, endpoint)
    kind = content_type.partition(";")[0].strip().lower()
    return int(limits.get(kind, limits.get(ANY, PLAIN_BYTES)))


def _limits(app: Flask, endpoint: str | None) -> dict[str, int]:
    """Content type -> bytes, of the route; empty for a route that takes no bodies."""
    limits: dict[str, int] = getattr(app.view_functions.get(endpoint or ""), _ATTRIBUTE, {})
    return limits
