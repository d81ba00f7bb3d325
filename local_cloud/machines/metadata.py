"""The metadata service (IMDSv2): one server, a path for each instance.

boto3 finds it through AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:PORT/<instance id>-<128 random bits>. The path
is new at each boot. It is the secret that keeps the role's credentials from other programs of this machine.
"""

import hashlib
import hmac
import json
import re
import secrets
import socket
import sys
import time
import urllib.parse
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

TOKEN_HEADER = "X-aws-ec2-metadata-token"
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
LONGEST_TTL_SECONDS = 21600
IDLE_SECONDS = 60.0
_VERSION = re.compile(r"latest|\d{4}-\d\d-\d\d")  # cloud-init asks for versions by their dates


class Facts(Protocol):
    """What an instance may read about itself. Read at every request, so that a change shows at once."""

    @property
    def user_data(self) -> bytes: ...

    def metadata(self) -> Mapping[str, str]:
        """Plain entries below latest/meta-data/, by their path."""

    def tags(self) -> Mapping[str, str]: ...

    @property
    def shows_tags(self) -> bool:
        """Whether InstanceMetadataTags is enabled."""

    def profile_arn(self) -> str | None: ...

    def role_credentials(self) -> tuple[str, Mapping[str, str]] | None:
        """The role's name and its credentials document; None without a role."""

    def identity_document(self) -> Mapping[str, Any]: ...


class _Refused(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class Tokens:
    """Session tokens that need not be stored: an expiry time, signed together with the name of the instance's path."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._secret = secrets.token_bytes(32)
        self._now = now

    def issue(self, name: str, ttl_seconds: int) -> str:
        return self._sign(name, int(self._now()) + ttl_seconds)

    def is_valid(self, name: str, token: str) -> bool:
        expiry = token.partition(".")[0]
        if not expiry.isdecimal() or int(expiry) <= self._now():
            return False
        return hmac.compare_digest(self._sign(name, int(expiry)).encode(), token.encode())

    def _sign(self, name: str, expiry: int) -> str:
        digest = hmac.new(self._secret, f"{name} {expiry}".encode(), hashlib.sha256)
        return f"{expiry}.{digest.hexdigest()}"


def answer(facts: Facts, path: str) -> bytes | None:
    """The answer to GET `latest/<path>`; None when there is no such entry. `path` is URL-encoded."""
    if path.startswith("meta-data"):
        return _meta_data(facts, path.removeprefix("meta-data").strip("/"))
    if path.rstrip("/") == "user-data":
        return facts.user_data or None
    if path.rstrip("/") == "dynamic/instance-identity":
        return b"document"
    if path.rstrip("/") == "dynamic/instance-identity/document":
        return json.dumps(facts.identity_document(), indent=2).encode()
    return None


def _meta_data(facts: Facts, path: str) -> bytes | None:
    if path == "tags" or path.startswith("tags/"):
        return _tags(facts, path)
    if path == "iam" or path.startswith("iam/"):
        return _role(facts, path)
    entries = facts.metadata()
    if path in entries:
        return entries[path].encode()
    below = f"{path}/" if path else ""
    branches = [branch for branch, there in (("iam/", facts.profile_arn()), ("tags/", facts.shows_tags)) if there]
    names = {name.removeprefix(below) for name in [*entries, *branches] if name.startswith(below)}
    folded = {head + slash for head, slash, _ in (name.partition("/") for name in names)}
    return "\n".join(sorted(folded)).encode() or None


def _tags(facts: Facts, path: str) -> bytes | None:
    if not facts.shows_tags:
        return None
    tags = facts.tags()
    if path == "tags":
        return b"instance/"
    if path == "tags/instance":
        return "\n".join(sorted(tags)).encode()
    value = tags.get(urllib.parse.unquote(path.removeprefix("tags/instance/")))
    return value.encode() if value is not None else None


def _role(facts: Facts, path: str) -> bytes | None:
    found = facts.role_credentials()
    if found is None:
        return None
    role, credentials = found
    if path == "iam":
        return b"info\nsecurity-credentials/"
    if path == "iam/info":
        return json.dumps(
            {"Code": "Success", "LastUpdated": credentials["LastUpdated"], "InstanceProfileArn": facts.profile_arn()}
        ).encode()
    if path == "iam/security-credentials":
        return role.encode()
    if path == f"iam/security-credentials/{role}":
        return json.dumps(credentials, indent=2).encode()
    return None


class _MetadataHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without this an answer waits some 40 ms for the caller's delayed acknowledgement.
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_SECONDS
    server: "MetadataServer"

    def do_PUT(self) -> None:
        self._respond(self._token)

    def do_GET(self) -> None:
        self._respond(self._entry)

    def _respond(self, produce: Callable[[str, str], bytes]) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        name, _, rest = self.path.partition("?")[0].lstrip("/").partition("/")
        try:
            status, body = 200, produce(name, rest)
        except _Refused as refusal:
            status, body = refusal.status, b""
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        if status == 200 and TTL_HEADER in self.headers:
            self.send_header(TTL_HEADER, self.headers[TTL_HEADER])
        self.end_headers()
        self.wfile.write(body)

    def _facts(self, name: str) -> Facts:
        facts = self.server.facts(name)
        if facts is None:
            raise _Refused(404)
        return facts

    def _token(self, name: str, path: str) -> bytes:
        if path != "latest/api/token":
            raise _Refused(405)
        ttl = self.headers.get(TTL_HEADER, "")
        if not ttl.isdecimal() or not 1 <= int(ttl) <= LONGEST_TTL_SECONDS:
            raise _Refused(400)
        self._facts(name)
        return self.server.tokens.issue(name, int(ttl)).encode()

    def _entry(self, name: str, path: str) -> bytes:
        facts = self._facts(name)
        if not self.server.tokens.is_valid(name, self.headers.get(TOKEN_HEADER, "")):
            raise _Refused(401)
        version, _, entry = path.partition("/")
        if _VERSION.fullmatch(version):
            found = answer(facts, entry)
            if found is not None:
                return found
        raise _Refused(404)

    def log_message(self, format: str, *args: Any) -> None:
        """No access log."""


class MetadataServer(ThreadingHTTPServer):
    """Serves on a socket that listens already."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, find: Callable[[str], Facts | None]) -> None:
        """`find` returns the facts of an instance by its id; None when it does not exist."""
        super().__init__(listener.getsockname(), _MetadataHandler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._find = find
        self._names: dict[str, str] = {}
        self.tokens = Tokens()
        host, port = listener.getsockname()
        self._url = f"http://{host}:{port}"

    def open(self, instance_id: str) -> str:
        """Make a new path for an instance, close its old one, and return its address."""
        self._names[instance_id] = f"{instance_id}-{secrets.token_hex(16)}"
        return f"{self._url}/{self._names[instance_id]}"

    def facts(self, name: str) -> Facts | None:
        """The facts of the instance whose path has this name; None when there is none."""
        instance_id = name.rpartition("-")[0]
        known = self._names.get(instance_id, "")
        return self._find(instance_id) if hmac.compare_digest(known.encode(), name.encode()) else None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a caller that hung up, such as a killed instance; print any other error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)
