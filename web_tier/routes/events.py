"""The server-sent events of a batch; `results.stream` says which there are."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, request

from web_tier.problems import Problem
from web_tier.results.stream import BatchStream
from web_tier.services import services

blueprint = Blueprint("events", __name__)


@blueprint.get("/batches/<batch>/events")
def events(batch: str) -> Response:
    """The stream. It ends when every photo is answered; with `uploading` in the query it waits for more."""
    services().batches.check(batch)
    gate = services().streams
    if not gate.acquire(blocking=False):
        raise Problem(503, "Too many pages are open at the moment. Please try again shortly.")
    stream = BatchStream(services().batches, batch, "uploading" in request.args, services().batch_cost.fact)
    response = Response(stream.run(services().hub, _client_left()), mimetype="text/event-stream")
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    response.call_on_close(gate.release)
    return response


def _client_left() -> Callable[[], bool]:
    """Whether the client is gone, for a generator that outlives the request context."""
    left: Callable[[], bool] | None = request.environ.get("waitress.client_disconnected")
    return left or (lambda: False)
