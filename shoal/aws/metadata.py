"""What an instance may ask about itself: the EC2 metadata endpoint, version 2 (tokens required)."""

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


def instance_metadata() -> InstanceMetadata | None:
    """A client for the endpoint that botocore's own variables name; None when they say that there is none."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return None
    return InstanceMetadata(os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or DEFAULT_ENDPOINT)


class InstanceMetadata:
    """A client of the metadata endpoint; a token is fetched when needed and used again. Not for many threads."""

    def __init__(self, endpoint: str = DEFAULT_ENDPOINT) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = ""

    def get(self, path: str) -> str:
        """The value at `path` below latest/meta-data. Raises NotFound, or Retryable when nobody answers."""
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
        """The value of one of the instance's own tags, None when it has none of that name."""
        try:
            return self.get(f"tags/instance/{quote(key, safe=':')}")
        except NotFound:
            return None

    def notice(self) -> str | None:
        """What EC2 announces to this instance: that a spot instance will be taken away, or soon may be; else None."""
        for path, words in NOTICES.items():
            try:
                return f"{words}: {self.get(path)}"
            except NotFound:
                continue
        return None

    def _call(self, method: str, path: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._endpoint + path, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            error.close()
            kind = NotFound if error.code == 404 else Retryable
            raise kind(f"instance metadata {path}: {error.code}") from error
        except OSError as error:
            raise Retryable(f"instance metadata {path}: {error}") from error
