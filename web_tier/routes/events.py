"""The server-sent events of a batch; `results.stream` says which there are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from web_tier.access.connections import ConnectionLimit
from web_tier.access.rights import Right, needs
from web_tier.problems import Problem
from web_tier.results.open_streams import EventSource, OpenStreams
from web_tier.results.stream import BatchStream
from web_tier.services import services

blueprint = Blueprint("events", __name__)

TAKE_CONNECTION = "shoal.take_connection"


@blueprint.get("/batches/<batch>/events")
@needs(Right.READ)
def events(batch: str) -> Response:
    """The stream. It ends when every photo is answered; with `uploading` in the query it waits for more."""
    ours = services()
    ours.batches.check(batch)
    if request.method == "HEAD":
        body: Any = ()
    else:
        waits_for_more = "uploading" in request.args
        source = BatchStream(ours.hub, ours.batches, batch, waits_for_more, ours.batch_cost.fact)
        if not ours.streams.reserve():
            raise Problem(503, "Too many pages are open at the moment. Please try again shortly.")
        body = _Handed(request.environ, ours.streams, ours.connections, source)
    response = Response(body, mimetype="text/event-stream", direct_passthrough=True)
    response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
    return response


class _Handed:
    """A body without bytes: when it is iterated, it hands the connection over to the open streams."""

    def __init__(
        self, environ: dict[str, Any], streams: OpenStreams, connections: ConnectionLimit, source: EventSource
    ) -> None:
        self._environ = environ
        self._streams = streams
        self._connections = connections
        self._source = source
        self._kept = True

    def __iter__(self) -> Iterator[bytes]:
        connection, peer, head, chunked = self._environ[TAKE_CONNECTION]()
        self._kept = False
        self._streams.add(connection, head, chunked, self._source, partial(self._connections.closed, peer))
        yield from ()

    def close(self) -> None:
        """Give the place back, if the connection broke before."""
        if self._kept:
            self._streams.release()
