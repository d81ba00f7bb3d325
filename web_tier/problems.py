"""Answers for requests that fail: a page, JSON or a line of text, as the client accepts."""

from __future__ import annotations

import logging

from flask import Flask, Response, jsonify, make_response, render_template, request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from shoal.errors import Retryable, ShoalError, StorageFull

log = logging.getLogger(__name__)

PLAIN = "text/plain; charset=utf-8"
RETRY_AFTER_SECONDS = {503: 2, 507: 30}

_TITLES = {
    400: "That did not work",
    401: "Who are you?",
    403: "That is not allowed",
    404: "Not found",
    405: "That is not possible here",
    413: "Too large",
    421: "Another name, please",
    429: "Too many at once",
    500: "Something broke on our side",
    503: "One moment, please",
    504: "Not finished yet",
    507: "The storage is full",
}


class Problem(ShoalError):
    """A request that fails.

    status:      the HTTP status of the answer.
    retry_after: seconds, for the header Retry-After; None for the status' usual number.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after


def unknown_batch() -> Problem:
    """The buckets have nothing of the batch."""
    return Problem(404, "This batch is unknown or has expired.")


def unknown_run() -> Problem:
    """The buckets have nothing of the bulk run."""
    return Problem(404, "This run is unknown or has expired.")


def wants_page() -> bool:
    """Whether the client is a browser that opens a page.

    Not every client that accepts text/html is one: Java's default is `text/html, image/gif, image/jpeg, *; q=.2`.
    """
    return request.headers.get("Sec-Fetch-Mode") == "navigate" or _prefers_page(request.accept_mimetypes)


def _prefers_page(accept: MIMEAccept) -> bool:
    """Whether an Accept header names text/html first, and beside it XHTML, as browsers do, or no other type."""
    ranges = [(kind.partition(";")[0].strip().lower(), quality) for kind, quality in accept]
    named = [(kind, quality) for kind, quality in ranges if "*" not in kind and quality > 0]
    first, best = max(named, key=lambda one: one[1], default=("", 0.0))
    others = {kind for kind, _ in named} - {"text/html"}
    anything = max((quality for kind, quality in ranges if "*" in kind), default=0.0)
    return first == "text/html" and anything < best and (not others or "application/xhtml+xml" in others)


def install(app: Flask) -> None:
    """Turn every error of `app` into a clear answer."""
    app.register_error_handler(Problem, _on_problem)
    app.register_error_handler(ShoalError, _on_shoal_error)
    app.register_error_handler(HTTPException, _on_http_error)
    app.register_error_handler(Exception, _on_surprise)


def answer(status: int, message: str) -> Response:
    """The answer with `message`, in the format that the client accepts."""
    if wants_page() and not request.path.startswith("/v1/"):
        title = _TITLES.get(status, "That did not work")
        response = make_response(render_template("problem.html", title=title, message=message, status=status), status)
    elif request.path.startswith("/v1/"):
        response = _document(status, message)
    elif _expects_json(status):
        response = make_response(jsonify(error=message), status)
    else:
        response = make_response(f"{message}\n", status, {"Content-Type": PLAIN})
    if status in RETRY_AFTER_SECONDS:
        response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS[status])
    if status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="Shoal"'
    response.headers["Cache-Control"] = "no-store"
    return response


def _expects_json(status: int) -> bool:
    """Whether the client asked for JSON, or is a program with an API key, or without the key that it needs."""
    has_key = request.headers.get("Authorization", "").lower().startswith("bearer ")
    return status == 401 or (status == 403 and has_key) or "application/json" in request.headers.get("Accept", "")


def _document(status: int, message: str) -> Response:
    """A problem document (RFC 9457)."""
    title = HTTP_STATUS_CODES.get(status, "Problem")
    response = jsonify(type="about:blank", title=title, status=status, detail=message)
    response.mimetype = "application/problem+json"
    response.status_code = status
    return response


def _on_problem(problem: Problem) -> Response:
    log.info("%s %s: %d %s", request.method, request.path, problem.status, problem)
    response = answer(problem.status, str(problem))
    if problem.retry_after is not None:
        response.headers["Retry-After"] = str(problem.retry_after)
    return response


def _on_shoal_error(error: ShoalError) -> Response:
    log.warning("%s %s: %s", request.method, request.path, error)
    if isinstance(error, StorageFull):
        return answer(507, "The storage is full, so this was not kept. What was accepted before is not lost.")
    if isinstance(error, Retryable):
        return answer(503, "The service behind this page does not answer at the moment. Please try again shortly.")
    return answer(500, "The service behind this page is not set up right. The log of the web tier says more.")


def _on_http_error(error: HTTPException) -> Response:
    status = error.code or 500
    message = "There is no such page here." if status == 404 else (error.description or error.name)
    response = answer(status, message)
    for name, value in error.get_headers(request.environ):
        if name not in ("Content-Type", "Content-Length"):
            response.headers[name] = value
    return response


def _on_surprise(_error: Exception) -> Response:
    log.exception("%s %s failed", request.method, request.path)
    return answer(500, "Something broke on our side. The log of the web tier says what.")
