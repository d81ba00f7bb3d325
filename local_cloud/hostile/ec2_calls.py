"""A WSGI layer in front of moto: throttles EC2 calls and hides new instances, as EC2 does under load."""

import io
import re
import threading
import time
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from typing import Any

from local_cloud.hostile import is_spared
from local_cloud.hostile.dice import Dice
from local_cloud.hostile.journal import FaultJournal

LAG_SECONDS = (5.0, 60.0)
CAPACITY_SECONDS = (60.0, 300.0)

App = Callable[..., Iterable[bytes]]


class ScarceCapacity:
    """Instance types without capacity, by zone. Safe for many threads."""

    def __init__(self, dice: Dice, journal: FaultJournal, now: Callable[[], float] = time.monotonic) -> None:
        self._dice = dice
        self._journal = journal
        self._now = now
        self._missing_until: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def grant(self, kind: str, zone: str, least: int, most: int) -> int:
        """How many instances of type `kind` can be launched in `zone`: `least` to `most`, or 0."""
        with self._lock:
            gone, fewer = self._dice.roll("no-capacity"), self._dice.roll("less-capacity") if most > least else None
            place = kind, zone
            if gone is not None and self._missing_until.get(place, 0.0) <= self._now():
                self._missing_until[place] = self._now() + self._dice.seconds(gone, *CAPACITY_SECONDS)
            if self._missing_until.get(place, 0.0) > self._now():
                self._journal.note("no-capacity", f"{kind} in {zone}")
                return 0
            if fewer is None:
                return most
            count = least + int(fewer * (most - least))
            self._journal.note("less-capacity", f"{count} of {most} {kind} in {zone}")
            return count


class HostileEc2:
    """Throttles calls, and hides new instances for a while."""

    def __init__(self, app: App, dice: Dice, journal: FaultJournal, now: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._dice = dice
        self._journal = journal
        self._now = now
        self._hidden_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        signed = environ.get("HTTP_AUTHORIZATION", "")
        if "/ec2/aws4_request" not in signed or is_spared(signed):
            return self._app(environ, start_response)
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        asked = urllib.parse.parse_qs(body.decode())
        action = asked.get("Action", [""])[0]
        if self._dice.roll("throttled") is not None:
            self._journal.note("throttled", action)
            return _error(start_response, "503 Service Unavailable", "RequestLimitExceeded", "Request limit exceeded.")
        hidden = self._hidden()
        named = {
            value for name, values in asked.items() if re.match(r"(Instance|Resource)Id\.", name) for value in values
        }
        if unknown := sorted(named & hidden):
            self._journal.note("describe-lag", f"{action} {unknown[0]}")
            text = f"The instance ID '{unknown[0]}' does not exist"
            return _error(start_response, "400 Bad Request", "InvalidInstanceID.NotFound", text)
        if action == "RunInstances":
            return self._launch(environ, start_response)
        if action == "DescribeInstances" and hidden:
            return self._describe(environ, start_response, hidden)
        return self._app(environ, start_response)

    def _hidden(self) -> set[str]:
        with self._lock:
            now = self._now()
            self._hidden_until = {one: until for one, until in self._hidden_until.items() if until > now}
            return set(self._hidden_until)

    def _launch(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        body = b"".join(self._app(environ, start_response))
        for found in re.findall(rb"<instanceId>(i-[0-9a-f]+)</instanceId>", body):
            magnitude = self._dice.roll("describe-lag")
            if magnitude is not None:
                with self._lock:
                    self._hidden_until[found.decode()] = self._now() + self._dice.seconds(magnitude, *LAG_SECONDS)
        return [body]

    def _describe(
        self, environ: dict[str, Any], start_response: Callable[..., Any], hidden: set[str]
    ) -> Iterable[bytes]:
        started: list[Any] = []

        def note_start(*arguments: Any) -> Callable[[bytes], None]:
            started.extend(arguments)
            return lambda _: None

        body = b"".join(self._app(environ, note_start))
        shown, left_out = _without(body, hidden)
        for one in left_out:
            self._journal.note("describe-lag", f"DescribeInstances {one}")
        status, headers, *rest = started
        kept = [(name, value) for name, value in headers if name.lower() != "content-length"]
        start_response(status, [*kept, ("Content-Length", str(len(shown)))], *rest)
        return [shown]


def _without(body: bytes, hidden: set[str]) -> tuple[bytes, list[str]]:
    """A DescribeInstances answer without `hidden`, and the ids that were removed from it."""
    root = ET.fromstring(body)
    space = root.tag.partition("}")[0].strip("{")
    ET.register_namespace("", space)
    left_out = []
    reservations = root.find(f"{{{space}}}reservationSet")
    for reservation in list(reservations if reservations is not None else ()):
        instances = reservation.find(f"{{{space}}}instancesSet")
        for item in list(instances if instances is not None else ()):
            identifier = item.findtext(f"{{{space}}}instanceId", "")
            if identifier in hidden and instances is not None:
                instances.remove(item)
                left_out.append(identifier)
        if instances is not None and not len(instances) and reservations is not None:
            reservations.remove(reservation)
    return (ET.tostring(root, encoding="utf-8", xml_declaration=True), left_out) if left_out else (body, [])


def _error(start_response: Callable[..., Any], status: str, code: str, message: str) -> list[bytes]:
    text = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error><Code>{code}</Code>'
        f"<Message>{message}</Message></Error></Errors><RequestID>hostile</RequestID></Response>"
    )
    body = text.encode()
    start_response(status, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))])
    return [body]
