"""The calls that are made for each photo, signed and sent by the libraries that boto3 uses itself, without the rest of
boto3: for about half of its processor time (docs/performance.md)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import urllib3
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path

from shoal.aws.clients import credentials

CONNECTIONS = 64


def call(
    client: Any, verb: str, path: str, headers: dict[str, str], body: bytes | None, retries: urllib3.Retry | bool
) -> urllib3.BaseHTTPResponse:
    """One call to the endpoint of a boto3 client, answered with whatever status.

    Raises urllib3's HTTPError and botocore's NoCredentialsError.
    """
    url = f"{client.meta.endpoint_url}{path}"
    request = AWSRequest(verb, url, data=body, headers=headers)
    service = client.meta.service_model.signing_name
    sign = S3SigV4Auth if service == "s3" else SigV4Auth
    sign(credentials(), service, client.meta.region_name).add_auth(request)
    signed = dict(request.headers.items())
    return _connections().request(verb, url, body=body, headers=signed, redirect=False, retries=retries)


@lru_cache(1)
def _connections() -> urllib3.PoolManager:
    # A long poll holds its connection for up to 20 s: reading may take longer than that.
    timeout = urllib3.Timeout(connect=5, read=30)
    return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout, ca_certs=get_cert_path(True))
