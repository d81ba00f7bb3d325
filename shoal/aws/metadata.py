"""A client of the EC2 instance metadata service, version 2 (tokens required)."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from urllib.parse import quote

from shoal.errors import NotFound, Retryable

DEFAULT_ENDPOINT = "http://169.254.169.254"
TOKEN_SECONDS = 21_600
TIMEOUT_SECONDS = 2.0
NOTICES = {
    "spot/instance-action": "spot interruption",
    "events/recommendations/rebalance": "rebalance recommendation",
}

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy would answer for its own machine


def instance_metadata() -> InstanceMetadata | None:
    """A client for the endpoint in botocore's variables; None when they disable it."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return InstanceMetadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT)


class InstanceMetadata:
    """Reads instance metadata. Fetches a token when needed and keeps it. Not safe for threads."""

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = ""

    def get(self, path: str) -> str:
        """The value at `path` below latest/meta-data. Raises NotFound, or Retryable when there is no answer."""
        if not self._token:
            self._token = self._call(
                "PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            )
        try:
            return self._call("GET", f"/latest/meta-data/{path}", {"X-aws-ec2-metadata-token": self._token})
        except Retryable:
            self._token = ""
            raise

    def tag(self, key: str) -> str | None:
        """The value of a tag of this instance; None when it has no such tag."""
        try:
            return self.get(f"tags/instance/{quote(key, safe=':')}")
        except NotFound:
            return None

    def notice(self) -> str | None:
        """EC2's notice to this instance: a spot interruption or a rebalance recommendation; None without one."""
        for path, words in NOTICES.items():
            try:
                return f"{words}: {self.get(path)}"
            except NotFound:
                continue
        return None

    def _call(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._endpoint + path, method=method, headers=headers)
        try:
            with _DIRECT.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            error.close()
            kind = NotFound if error.code == 404 else Retryable
            raise kind(f"instance metadata {path}: {error.code}") from error
        except OSError as error:
            raise Retryable(f"instance metadata {path}: {error}") from error
