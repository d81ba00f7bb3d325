"""`POST /` from a program: one request, answered when its photos are labelled.

The reply is `text/plain`, one line a photo in the order in which they were sent: `<name without extension>:<label>`.
"""

from __future__ import annotations

import time
from pathlib import PurePosixPath

from flask import Response, make_response, request

from shoal.messages import Result, new_batch
from web_tier.hub import Listener
from web_tier.intake import Taken
from web_tier.problems import PLAIN, Problem
from web_tier.services import services

LOOK_SECONDS = 5.0  # how often the output bucket is looked at, in case that a response message was lost
WAKE_SECONDS = 1.0  # how often a client that went away is noticed


def label() -> Response:
    """Take the photos in, wait for the labels, and reply with them."""
    batch = new_batch(services().clock.now())
    with services().hub.listen(batch) as listener:
        taken = services().intake.take(request.stream, request.headers.get("Content-Type", ""), batch)
        results = _wait(batch, taken, listener)
    good = any(result.status == "done" for result in results.values())
    lines = [_line(one, results[one.job.key]) for one in taken]
    body = "\n".join(lines) if len(lines) == 1 else "".join(f"{line}\n" for line in lines)
    return make_response(body, 200 if good else 422, {"Content-Type": PLAIN, "Content-Location": f"/batches/{batch}"})


def _wait(batch: str, taken: list[Taken], listener: Listener) -> dict[str, Result]:
    results = {one.job.key: Result.failed(one.job.key, one.error) for one in taken if one.error}
    now = time.monotonic()
    deadline, next_look = now + services().settings.answer_seconds, now + LOOK_SECONDS
    while missing := len(taken) - len(results):
        if now >= deadline:
            raise Problem(504, f"{missing} of {len(taken)} photos are not labelled yet. See {_address(batch)}")
        news = listener.take(min(WAKE_SECONDS, deadline - now))
        if news.stopping:
            raise Problem(503, f"The server is about to restart. The photos are safe: see {_address(batch)}")
        results.update((result.key, result) for result in news.results)
        now = time.monotonic()
        if now >= next_look and len(results) < len(taken):
            results.update((result.key, result) for result in services().batches.answers(batch, results))
            next_look = now + LOOK_SECONDS
        if client_left():
            raise Problem(499, "the client went away")
    return results


def client_left() -> bool:
    """Whether the client closed the connection."""
    left = request.environ.get("waitress.client_disconnected")
    return bool(left and left())


def _address(batch: str) -> str:
    return f"{request.host_url}batches/{batch}"


def _line(one: Taken, result: Result) -> str:
    if result.status == "done":
        return f"{PurePosixPath(one.job.name).stem}:{result.label}"
    return f"{one.job.name}: {result.error}"
