"""boto3 clients, set up once for the whole program, and its errors in our words."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3.session
import botocore.exceptions
import urllib3.exceptions
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials as Credentials

from shoal.errors import CapacityUnavailable, NotFound, Permanent, Retryable, ShoalError

# A long poll holds its connection for up to 20 s: reading may take longer than that.
CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=64,
    retries={"mode": "standard", "max_attempts": 4},
    tcp_keepalive=True,
)

_NOT_FOUND = {
    "NoSuchKey",
    "NoSuchBucket",
    "NoSuchEntity",
    "404",
    "NotFound",
    "QueueDoesNotExist",
    "AWS.SimpleQueueService.NonExistentQueue",
    "InvalidInstanceID.NotFound",
    "InvalidAMIID.NotFound",
    "ResourceNotFoundException",
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.VersionNotFound",
}
_CAPACITY = {
    "InsufficientInstanceCapacity",
    "InstanceLimitExceeded",
    "VcpuLimitExceeded",
    "MaxSpotInstanceCountExceeded",
    "InsufficientFreeAddressesInSubnet",
    "SpotMaxPriceTooLow",
    "Unsupported",  # this type is not to be had in this zone
}
_RETRYABLE = {
    "RequestLimitExceeded",
    "ProvisionedThroughputExceededException",
    "ResourceContention",
    "ScalingActivityInProgress",
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "SlowDown",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "InternalServiceError",
    "RequestTimeout",
    "ExpiredToken",
    "ExpiredTokenException",
}

_session_lock = threading.Lock()
_session: boto3.session.Session | None = None


def client(service: str) -> Any:
    """A client of one AWS service, from boto3's own environment variables. Clients may be shared by threads."""
    global _session
    # Making clients is not thread-safe, and a session reads its data files once: share one.
    with _session_lock:
        if _session is None:
            _session = boto3.session.Session()
        with our_errors(f"AWS client for {service}"):
            return _session.client(service, config=CONFIG)


def credentials() -> Credentials:
    """Who the clients are, to sign a request with. Raises botocore's NoCredentialsError."""
    found = _session.get_credentials() if _session else None
    if found is None:
        raise botocore.exceptions.NoCredentialsError
    return found.get_frozen_credentials()  # renewed when they are about to expire


@contextmanager
def our_errors(what: str) -> Iterator[None]:
    """Turn botocore's errors into ours; `what` names the call for the person who reads the message."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _translated(what, error) from error
    except (
        botocore.exceptions.ConnectionError,
        botocore.exceptions.HTTPClientError,
        urllib3.exceptions.HTTPError,
    ) as error:
        raise Retryable(f"{what}: {error}") from error
    except botocore.exceptions.NoCredentialsError as error:
        raise Permanent(f"{what}: no AWS credentials: run `aws configure` or give the instance a role") from error
    except botocore.exceptions.NoRegionError as error:
        raise Permanent(f"{what}: no AWS region is set: set AWS_DEFAULT_REGION") from error
    except botocore.exceptions.BotoCoreError as error:
        raise Permanent(f"{what}: {error}") from error


def _translated(what: str, error: botocore.exceptions.ClientError) -> ShoalError:
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "")), details.get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    text = f"{what}: {code}: {message}"
    if code in _NOT_FOUND:
        return NotFound(text)
    if code in _CAPACITY:
        return CapacityUnavailable(text)
    if code in _RETRYABLE or status >= 500:
        return Retryable(text)
    return Permanent(text)


def error_code(error: BaseException) -> str:
    """The AWS error code behind one of our errors, empty when there is none."""
    cause = error.__cause__
    if isinstance(cause, botocore.exceptions.ClientError):
        return str(cause.response.get("Error", {}).get("Code", ""))
    return ""


def region() -> str:
    """The region that boto3 is set to. Raises Permanent when there is none."""
    return str(client("sqs").meta.region_name)
