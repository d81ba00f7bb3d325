"""Writes down the calls that change moto's books, and repeats them at the next start.

Instances and images have files of their own (records_file.py, images.py) and are left out. Each call is written with
its time and with the seed of its ids, so that repeating it gives the same ids and creation times. It is written before
it is answered: an answered call survives any death of this process.
"""

import base64
import datetime
import io
import json
import re
import types
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import moto.core.utils
from werkzeug.test import EnvironBuilder, run_wsgi_app

from local_cloud.ec2 import seeded_ids
from local_cloud.ec2.groups import repetition
from local_cloud.ec2.record import books_lock

KEPT_SERVICES = ("ec2", "autoscaling", "iam", "ssm")
_READS = re.compile(r"(Describe|Get|List|Search|Simulate|Generate|Validate|Lookup)")
_SCOPE = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/aws4_request")
_INSTANCE = re.compile(r"\bi-[0-9a-f]{17}\b")
_IMAGE = re.compile(r"\bami-[0-9a-f]{8,17}\b")
# Calls that launch, and calls about images and key pairs, which are kept in another way.
_OTHERWISE_KEPT = {
    *("RunInstances", "RequestSpotInstances", "RequestSpotFleet", "CreateFleet", "RunScheduledInstances"),
    *("CreateImage", "CopyImage", "DeregisterImage", "CreateKeyPair"),
}

Application = Callable[..., Iterable[bytes]]


@dataclass(frozen=True)
class Call:
    """One call as it came in.

    at:          ISO 8601 in UTC.
    fingerprint: of the key pair that the call made; empty for other calls.
    """

    at: str
    seed: int
    service: str
    region: str
    action: str
    body: str
    target: str = ""
    content_type: str = "application/x-www-form-urlencoded; charset=utf-8"
    fingerprint: str = ""

    def environ(self) -> dict[str, Any]:
        """The call as a WSGI environment."""
        scope = f"local-cloud/19700101/{self.region}/{self.service}/aws4_request"
        headers = [("Authorization", f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0")]
        if self.target:
            headers.append(("X-Amz-Target", self.target))
        builder = EnvironBuilder(
            method="POST", data=self.body.encode(), content_type=self.content_type, headers=headers
        )
        try:
            return builder.get_environ()
        finally:
            builder.close()

    def parameter(self, name: str) -> str:
        """The value of a parameter (query protocol); empty when it is not there."""
        return urllib.parse.parse_qs(self.body).get(name, [""])[0]


def read_call(environ: dict[str, Any]) -> Call | None:
    """The call in a WSGI environment if it changes the books, else None. The body can be read again."""
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    if scope is None or scope[2] not in KEPT_SERVICES:
        return None
    raw = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(raw)
    body, target = raw.decode(), environ.get("HTTP_X_AMZ_TARGET", "")
    action = target.rpartition(".")[2] or urllib.parse.parse_qs(body).get("Action", [""])[0]
    if not action or _READS.match(action):
        return None
    now = datetime.datetime.now(datetime.UTC).isoformat()
    content_type = environ.get("CONTENT_TYPE", "")
    return Call(now, seeded_ids.new_seed(), scope[2], scope[1], action, body, target, content_type)


def is_kept(call: Call) -> bool:
    """Whether to repeat the call. What other calls change is kept elsewhere, or ends with the instance."""
    if call.action in _OTHERWISE_KEPT or _INSTANCE.search(call.body):
        return False
    return not (call.action in ("CreateTags", "DeleteTags") and _IMAGE.search(call.body))


class CallsFile:
    """The calls, one JSON line each, oldest first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, call: Call) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(asdict(call)) + "\n")

    def read(self) -> list[Call]:
        """All calls, without those that a later call replaces, and without a last line cut short by a kill."""
        if not self._path.exists():
            return []
        lines = self._path.read_text().split("\n")
        calls = _without_void([Call(**json.loads(line)) for line in lines[:-1]])
        if len(calls) + 1 < len(lines) or lines[-1]:
            draft = self._path.with_suffix(".draft")
            draft.write_text("".join(json.dumps(asdict(call)) + "\n" for call in calls))
            draft.replace(self._path)
        return calls


def _without_void(calls: list[Call]) -> list[Call]:
    """Keep only the last of several settings of the same thing, unless something was deleted in between."""
    kept: list[Call] = []
    later: set[tuple[str, str]] = set()
    for call in reversed(calls):
        what = _setting(call)
        if what in later:
            continue
        if what is not None:
            later.add(what)
        elif not call.action.startswith(("Create", "Add", "Attach")):
            later.clear()
        kept.append(call)
    return kept[::-1]


def _setting(call: Call) -> tuple[str, str] | None:
    """What the call sets, if it is a call that programs repeat often; else None."""
    if call.action == "SetDesiredCapacity":
        return call.action, call.parameter("AutoScalingGroupName")
    if call.service == "iam" and call.action.startswith("Put"):
        return call.action, call.body
    return None


class CallJournal:
    """A WSGI layer in front of moto: handles one request at a time and writes down calls that change the books.

    save:       writes instances and images.
    capacities: the desired capacity of each group now.
    key_pairs:  moto's, by name.
    """

    def __init__(
        self,
        moto_app: Application,
        file: CallsFile,
        save: Callable[[], None],
        capacities: Callable[[], dict[str, int]],
        key_pairs: Mapping[str, Any],
    ) -> None:
        self._moto_app = moto_app
        self._file = file
        self._save = save
        self._capacities = capacities
        self._key_pairs = key_pairs
        self._known_capacities: dict[str, int] = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        call = read_call(environ)
        with books_lock:
            if call is None:
                return self._ask(environ, start_response)
            statuses: list[str] = []

            def note_status(status: str, *arguments: Any) -> Any:
                statuses.append(status)
                return start_response(status, *arguments)

            with _as_at(call):
                answer = self._ask(environ, note_status)
            if statuses[0].startswith("2"):
                self._keep(call)
            return answer

    def _ask(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        chunks = self._moto_app(environ, start_response)
        try:
            return list(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()

    def repeat(self) -> list[str]:
        """Repeat the calls of earlier runs in a moto that has just started. Returns a line for each refusal."""
        refused = []
        with books_lock, repetition():
            for call in self._file.read():
                with _as_at(call):
                    chunks, status, _ = run_wsgi_app(self._moto_app, call.environ())
                    answer = b"".join(chunks).decode(errors="replace")
                if not status.startswith("2"):
                    refused.append(f"{call.action} of {call.at} could not be repeated: {status} {answer[:300]}")
                elif call.fingerprint:
                    self._key_pairs[call.parameter("KeyName")].key_fingerprint = call.fingerprint
            self._known_capacities = self._capacities()
        return refused

    def _keep(self, call: Call) -> None:
        if is_kept(call):
            self._file.append(call)
        elif call.action == "CreateKeyPair":
            self._file.append(self._as_import(call))
        if call.service == "autoscaling":
            self._keep_capacities(call)
        self._save()

    def _keep_capacities(self, call: Call) -> None:
        """Write down changed group capacities: the call that changed them may not be repeated itself."""
        now = self._capacities()
        if not is_kept(call):
            for name, desired in now.items():
                if self._known_capacities.get(name) != desired:
                    asked = {"AutoScalingGroupName": name, "DesiredCapacity": desired}
                    self._file.append(_again(call, "SetDesiredCapacity", "2011-01-01", asked))
        self._known_capacities = now

    def _as_import(self, call: Call) -> Call:
        """The import of the key pair's public half: it gives the same id, and a new pair could not be the same."""
        name = call.parameter("KeyName")
        asked = {
            key: values[0]
            for key, values in urllib.parse.parse_qs(call.body).items()
            if key.startswith("TagSpecification")
        }
        made = self._key_pairs[name]
        asked |= {"KeyName": name, "PublicKeyMaterial": base64.b64encode(made.material_public).decode()}
        return replace(_again(call, "ImportKeyPair", "2016-11-15", asked), fingerprint=made.key_fingerprint)


def _again(call: Call, action: str, version: str, asked: dict[str, Any]) -> Call:
    body = urllib.parse.urlencode({"Action": action, "Version": version, **asked})
    return Call(call.at, call.seed, call.service, call.region, action, body)


@contextmanager
def _as_at(call: Call) -> Iterator[None]:
    """Within this context ids follow from the call's seed, and moto's clock stands at the call's time."""
    with seeded_ids.ids_of(call.seed), _clock_at(datetime.datetime.fromisoformat(call.at)):
        yield


@contextmanager
def _clock_at(now: datetime.datetime) -> Iterator[None]:
    class Standing(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Any:
            return now.astimezone(tz)

    clock: Any = moto.core.utils
    names = {name: getattr(datetime, name) for name in dir(datetime) if not name.startswith("__")}
    clock.datetime = types.SimpleNamespace(**{**names, "datetime": Standing})
    try:
        yield
    finally:
        clock.datetime = datetime
