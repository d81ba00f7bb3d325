"""The calls made for each photo, signed and sent by botocore's signer and its HTTP session, without the rest of boto3:
for about half of its processor time (docs/performance.md). Certificates are those that boto3 would use, and so
are proxies, except that calls to this machine go through none."""

from __future__ import annotations

import json
import re
import socket
from functools import lru_cache
from typing import Any

from botocore import xform_name
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies

from shoal.aws.clients import CONFIG, Service, region, session
from shoal.proxies import is_direct

NOT_FOUND = 404
# As boto3 sets them: without the first, a small body waits some 40 ms for the service's delayed acknowledgement.
SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]


def call(
    service: Service, verb: str, path: str, headers: dict[str, str], body: bytes | None, bucket: str = ""
) -> bytes | None:
    """Send one call and return the body of the answer. `path` is that below the bucket, if one is named.

    Returns None when the call did not succeed, and when `service` has a client of its own. Then ask boto3: it knows
    what to try again and how to say what is wrong. Raises ClientError when what is asked for is not there, and
    Permanent when no region is set.
    """
    if service.given:
        return None
    try:
        address = service.bucket(bucket) if bucket else service.endpoint
        request = AWSRequest(verb, f"{address}{path}", data=body, headers=headers)
        sign = S3SigV4Auth if service.name == "s3" else SigV4Auth
        sign(session().credentials(), service.name, region()).add_auth(request)
        answer = send(address, request)
    except BotoCoreError:
        return None
    if answer.status_code == NOT_FOUND:
        raise _not_found(answer.content, f"{verb} {path}")
    return answer.content if answer.status_code < 300 else None


def call_json(service: Service, protocol: str, action: str, **members: Any) -> dict[str, Any]:
    """Return what boto3 would, from a service whose calls are JSON; `protocol` is the first part of their target."""
    headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"{protocol}.{action}"}
    answer = call(service, "POST", "/", headers, json.dumps(members).encode())
    if answer is not None:
        return dict(json.loads(answer))
    return dict(getattr(service.client, xform_name(action))(**members))


def send(endpoint: str, request: AWSRequest) -> AWSResponse:
    """Send a request to a service or bucket at `endpoint`, through the proxy that the environment names for it, if any.

    Raises botocore's errors of connections and of HTTP.
    """
    return _http(endpoint, session().certificates).send(request.prepare())


@lru_cache
def _http(endpoint: str, certificates: str | bool) -> URLLib3Session:
    return URLLib3Session(
        verify=certificates,
        proxies={} if is_direct(endpoint) else get_environ_proxies(endpoint),
        timeout=(CONFIG.connect_timeout, CONFIG.read_timeout),
        max_pool_connections=CONFIG.max_pool_connections,
        socket_options=SOCKET_OPTIONS,
    )


def _not_found(body: bytes, operation: str) -> ClientError:
    """S3's answer 404 as boto3 would raise it."""
    code, message = (re.search(rb"<%s>([^<]*)</" % name, body) for name in (b"Code", b"Message"))
    error = {"Code": code[1].decode() if code else str(NOT_FOUND), "Message": message[1].decode() if message else ""}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": NOT_FOUND}}, operation)
