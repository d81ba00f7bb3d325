"""Labels a photo for a plain request without a thread of the server, and without Flask.

Both together take longer than all else that is done for a photo beside decoding and the engine. The server's loop hands
the photo to the venue, and the venue's thread sends the answer: the same as the route's.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import lru_cache, partial

from flask import Flask, Response

from shoal.errors import Retryable
from shoal.messages import Job, Result, new_batch, safe_name
from web_tier.access.origin import answers_to
from web_tier.problems import Problem
from web_tier.results.batches import Photo
from web_tier.schemas.bodies import FORM, JSON
from web_tier.services import LabelLater, Services
from web_tier.waitress_ready import ReadyAnswer, Send, WholeRequest

log = logging.getLogger(__name__)

DOOR = "/v1/label"
NAME = safe_name("photo")  # of a photo whose request names none
BROKE = "Something broke on our side. The log of the web tier says what."

# A request with any other header, with a query, or of another kind is the app's: it has the rules for them.
PLAIN_HEADERS = frozenset(
    {
        "HOST",
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "USER_AGENT",
        "ACCEPT",
        "ACCEPT_ENCODING",
        "ACCEPT_LANGUAGE",
        "CONNECTION",
    }
)

_encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode  # as Flask does


class EarlyLabels:
    """Begins to answer requests of the route DOOR."""

    def __init__(self, app: Flask, services: Services, label: LabelLater) -> None:
        self._app = app
        self._services = services
        self._label = label
        self._allowed = frozenset(name.lower().rstrip(".") for name in services.settings.allowed_host_names)
        self._most_bytes = services.settings.max_file_bytes
        self._heads = {status: self._head(status) for status in (200, 422)}
        self._problem = lru_cache(maxsize=64)(self._made)

    @staticmethod
    def takes(method: str, path: str) -> bool:
        """Whether a request may be for this class."""
        return method == "POST" and path == DOOR

    def begin(self, request: WholeRequest, send: Send) -> bool:
        """Begin to label the photo of a request. Returns whether `send` will get the answer."""
        if not self._is_plain(request):
            return False
        batch = new_batch(self._services.clock.now())
        job = Job(batch, 0, NAME, self._services.replies.name)
        told = partial(self._tell, send, job)
        try:
            self._label(job, request.body, request.head.address, request.left, told)
        except Retryable:
            return False  # the app says why
        return True

    def _is_plain(self, request: WholeRequest) -> bool:
        headers = request.head.headers
        if request.head.query or not PLAIN_HEADERS.issuperset(headers) or len(request.body) > self._most_bytes:
            return False
        return _kind(headers) not in (FORM, JSON) and answers_to(headers.get("HOST", ""), self._allowed)

    def _tell(self, send: Send, job: Job, outcome: Result | Problem) -> None:
        send(self._answer(job, outcome))

    def _answer(self, job: Job, outcome: Result | Problem) -> ReadyAnswer:
        try:
            if isinstance(outcome, Problem):
                return self._problem(outcome.status, str(outcome), outcome.retry_after)
            photo = Photo(job, True, outcome)
            status, headers = self._heads[200 if photo.state == "done" else 422]
            return ReadyAnswer(status, headers, f"{_encode(photo.to_dict())}\n".encode())
        except Exception:
            log.exception("POST %s failed", DOOR)
            return self._problem(500, BROKE, None)

    def _head(self, status: int) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Status and headers of an answer, as the app makes them."""
        with self._app.test_request_context(DOOR, method="POST"):
            made = _ready(self._app.process_response(self._app.make_response(({}, status))))
        return made.status, tuple(made.headers)

    def _made(self, status: int, message: str, retry_after: int | None) -> ReadyAnswer:
        """The answer for a problem, as the app makes it."""
        with self._app.test_request_context(DOOR, method="POST"):
            told = self._app.handle_user_exception(Problem(status, message, retry_after))
            return _ready(self._app.process_response(self._app.make_response(told)))


def _ready(response: Response) -> ReadyAnswer:
    headers = [(name, value) for name, value in response.headers.items() if name != "Content-Length"]
    return ReadyAnswer(response.status, headers, response.get_data())


def _kind(headers: Mapping[str, str]) -> str:
    return headers.get("CONTENT_TYPE", "").partition(";")[0].strip().lower()
