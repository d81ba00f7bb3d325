"""HTTP requests of tests, signed as boto3 signs them."""

from collections.abc import Mapping
from typing import Any

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


def send_signed(
    method: str, url: str, keys: Mapping[str, str], service: str = "ec2", **options: Any
) -> requests.Response:
    """Send a request signed with the key pair in `keys`, the variables of a cloud's `env`."""
    request = AWSRequest(method, url, **options)
    pair = Credentials(keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"])
    SigV4Auth(pair, service, "us-east-1").add_auth(request)
    signed = request.prepare()
    return requests.request(method, signed.url, headers=dict(signed.headers), data=signed.body, timeout=10)
