"""The calls that are made for each photo, signed and sent by the libraries that boto3 uses itself, without the rest of
boto3: for about half of its processor time (docs/performance.md)."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import botocore.exceptions
import urllib3
import urllib3.exceptions
from botocore import xform_name
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.httpsession import get_cert_path

from shoal.aws.clients import Service, region, session

CONNECTIONS = 64
OK = 200


def call(
    service: Service, verb: str, path: str, headers: dict[str, str], body: bytes | None, retries: urllib3.Retry | bool
) -> urllib3.BaseHTTPResponse:
    """One call to a service, answered with whatever status.

    Raises urllib3's HTTPError, botocore's NoCredentialsError, and Permanent when no region is set.
    """
    url = f"{service.endpoint}{path}"
    request = AWSRequest(verb, url, data=body, headers=headers)
    sign = S3SigV4Auth if service.name == "s3" else SigV4Auth
    sign(session().credentials(), service.name, region()).add_auth(request)
    signed = dict(request.headers.items())
    return _connections().request(verb, url, body=body, headers=signed, redirect=False, retries=retries)


def call_json(service: Service, protocol: str, action: str, **members: Any) -> dict[str, Any]:
    """What boto3 would answer, from a service whose calls are JSON; `protocol` is the first part of their target.

    boto3 is asked itself when the plain call did not succeed: it knows what to try again, and how to say what is wrong.
    """
    if not service.given:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{protocol}.{action}"}
        try:
            answer = call(service, "POST", "/", headers, json.dumps(members).encode(), retries=False)
            if answer.status == OK:
                return dict(json.loads(answer.data))
        except (urllib3.exceptions.HTTPError, botocore.exceptions.NoCredentialsError, ValueError):
            pass
    return dict(getattr(service.client, xform_name(action))(**members))


@lru_cache(1)
def _connections() -> urllib3.PoolManager:
    # A long poll holds its connection for up to 20 s: reading may take longer than that.
    timeout = urllib3.Timeout(connect=5, read=30)
    return urllib3.PoolManager(maxsize=CONNECTIONS, timeout=timeout, ca_certs=get_cert_path(True))
