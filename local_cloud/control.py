"""Acts on instances that no AWS call has: a path beside the EC2 API, for people and tests.

POST /_local_cloud/instances/<id>/interruption?notice_seconds=120    give a spot instance its notice, then end it
POST /_local_cloud/instances/<id>/rebalance                          recommend rebalancing to a spot instance
"""

import json
import re
import urllib.parse
from collections.abc import Callable, Iterable
from typing import Any

from local_cloud.machines.instance import InstanceRecord
from local_cloud.machines.instance_host import SPOT_NOTICE_SECONDS, InstanceHost

_PATH = re.compile(r"/_local_cloud/instances/(i-[0-9a-f]+)/(interruption|rebalance)")
ALIVE = ("pending", "running")


class Control:
    """A WSGI layer: answers its own paths, passes on all others."""

    def __init__(
        self, rest: Callable[..., Iterable[bytes]], host: InstanceHost, find: Callable[[str], InstanceRecord | None]
    ) -> None:
        """`find` returns the record of an instance by its id."""
        self._rest = rest
        self._host = host
        self._find = find

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if not path.startswith("/_local_cloud/"):
            return self._rest(environ, start_response)
        status, message = self._act(environ["REQUEST_METHOD"], path, environ.get("QUERY_STRING", ""))
        body = json.dumps({"message": message}).encode() + b"\n"
        start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    def _act(self, method: str, path: str, query: str) -> tuple[str, str]:
        found = _PATH.fullmatch(path)
        if found is None:
            return "404 Not Found", "there is no such path: docs/local-cloud.md, spot instances"
        if method != "POST":
            return "405 Method Not Allowed", "use POST"
        identifier, what = found.groups()
        record = self._find(identifier)
        if record is None:
            return "404 Not Found", f"there is no instance {identifier}"
        if record.spot_end_state is None:
            return "409 Conflict", f"{identifier} is not a spot instance"
        if record.state not in ALIVE:
            return "409 Conflict", f"{identifier} is {record.state}"
        if what == "rebalance":
            self._host.recommend_rebalance(identifier)
            return "200 OK", f"{identifier} is told to expect an interruption"
        return self._interrupt(identifier, record.spot_end_state, query)

    def _interrupt(self, identifier: str, state: str, query: str) -> tuple[str, str]:
        text = urllib.parse.parse_qs(query).get("notice_seconds", [str(SPOT_NOTICE_SECONDS)])[0]
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds <= 3600:
            return "400 Bad Request", f"notice_seconds={text} is not a number from 0 to 3600"
        self._host.interrupt(identifier, state, seconds)
        return "200 OK", f"{identifier} will be {state} in {seconds:g} s"
