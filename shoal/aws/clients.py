"""boto3 clients, made once at the first use, and their errors translated into ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import botocore.exceptions
import botocore.session
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials as Credentials

from shoal.errors import CapacityUnavailable, NotFound, Permanent, Retryable, ShoalError, StorageFull
from shoal.proxies import is_direct

# A long poll holds its connection for up to 20 s: reading may take longer than that.
CONFIG = Config(
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=64,
    retries={"mode": "standard", "max_attempts": 4},
    tcp_keepalive=True,
)
# Calls to this machine go through no proxy; without `proxies`, botocore takes those of the environment.
DIRECT_CONFIG = CONFIG.merge(Config(proxies={}))
# boto3 signs forms and addresses with Version 2 in some regions, which new buckets refuse, and the embedded cloud too.
SIGNED_FORMS = Config(signature_version="s3v4")

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
    "Unsupported",  # this zone does not have this type
}
INSUFFICIENT_STORAGE = 507  # of the embedded cloud, and of other stores that speak S3; S3 itself is never full
_FULL = {"QuotaExceeded", "XMinioStorageFull"}
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


class Session:
    """Region, credentials and clients of this program, from boto3's environment variables and files.

    variables: variables of boto3 that count although they are not in the environment.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._core = botocore.session.get_session()
        self._variables = variables
        if region := variables.get("AWS_DEFAULT_REGION"):
            self._core.set_config_variable("region", region)
        if key := variables.get("AWS_ACCESS_KEY_ID"):
            self._core.set_credentials(key, variables.get("AWS_SECRET_ACCESS_KEY", ""))
        self._clients: dict[str, Any] = {}
        self._making = threading.Lock()
        self._region: str | None = None
        self._ignores_endpoints = bool(self._core.get_config_variable("ignore_configured_endpoint_urls"))
        # A bundle of certificates, searched for as boto3 does; True for the default.
        bundle = self._core.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        self.certificates: str | bool = bundle or True
        self._core.get_credentials()  # on an instance this is a call: make it before the first photo

    @property
    def region(self) -> str | None:
        """The region; None while none is set."""
        if self._region is None:  # like the clients, it may be set after this session was made
            self._region = self._core.get_config_variable("region")
        return self._region

    def credentials(self) -> Credentials:
        """Raises botocore's NoCredentialsError."""
        found = self._core.get_credentials()
        if found is None:
            raise botocore.exceptions.NoCredentialsError
        return found.get_frozen_credentials()  # renewed when they are about to expire

    def client(self, service: str) -> Any:
        """The client of a service. Threads may share a client, but only one may make it at a time."""
        with self._making:
            if service not in self._clients:
                # Without `variables`, botocore finds the address itself, also in its configuration files.
                address = self.endpoint(service) if self._variables else None
                config = DIRECT_CONFIG if is_direct(self.endpoint(service)) else CONFIG
                if service == "s3":
                    config = config.merge(SIGNED_FORMS)
                self._clients[service] = self._maker.client(service, endpoint_url=address or None, config=config)
            return self._clients[service]

    def endpoint(self, service: str) -> str:
        """The address that the variables name for a service, empty when they name none; as botocore looks for it."""
        variables = {**({} if self._ignores_endpoints else os.environ), **self._variables}
        names = (f"AWS_ENDPOINT_URL_{service.upper()}", "AWS_ENDPOINT_URL")
        return next((found for name in names if (found := variables.get(name, ""))), "").rstrip("/")

    @cached_property
    def _maker(self) -> Any:
        import boto3.session  # imported here: a worker needs it only when a call fails

        return boto3.session.Session(botocore_session=self._core)


class Service:
    """One AWS service: its address, and its client, which is made at the first use.

    boto3 needs a tenth of a second to read the model of S3 or SQS, and the calls for each photo do without it
    (shoal/aws/signed.py). Without an address in the environment, the client tells the address.
    given: a client with settings and credentials of its own, which then makes all calls.
    """

    def __init__(self, name: str, given: Any = None) -> None:
        self.name = name
        self.given = given
        self._configured = "" if given else session().endpoint(name)

    @property
    def client(self) -> Any:
        """boto3's client. Raises Permanent where it cannot be made."""
        return self.given or client(self.name)

    @property
    def endpoint(self) -> str:
        """The address, without a slash at the end."""
        return self._configured or str(self.client.meta.endpoint_url).rstrip("/")


_session_lock = threading.Lock()
_session: Session | None = None
_variables: Mapping[str, str] = {}


def use(variables: Mapping[str, str]) -> None:
    """Let the session of the program take these variables of boto3 besides those in the environment."""
    global _session, _variables
    with _session_lock:
        if variables != _variables:
            _session, _variables = None, dict(variables)


def session() -> Session:
    """The session of the whole program, made at the first use. Raises Permanent."""
    global _session
    with _session_lock:
        if _session is None:
            with our_errors("AWS session"):
                _session = Session(_variables)
        return _session


def client(service: str) -> Any:
    """The client of one AWS service. Raises Permanent where it cannot be made."""
    with our_errors(f"AWS client for {service}"):
        return session().client(service)


def region() -> str:
    """The region that boto3 is set to. Raises Permanent when there is none."""
    with our_errors("AWS region"):
        found = session().region
        if not found:
            raise botocore.exceptions.NoRegionError
        return found


@contextmanager
def our_errors(what: str) -> Iterator[None]:
    """Turn botocore's errors into ours; `what` names the call in the message."""
    try:
        yield
    except botocore.exceptions.ClientError as error:
        raise _translated(what, error) from error
    except (botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError) as error:
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
    if status == INSUFFICIENT_STORAGE or code in _FULL:
        return StorageFull(text)
    if code in _RETRYABLE or status >= 500:
        return Retryable(text)
    return Permanent(text)


def error_code(error: BaseException) -> str:
    """The AWS error code behind one of our errors, empty when there is none."""
    cause = error.__cause__
    if isinstance(cause, botocore.exceptions.ClientError):
        return str(cause.response.get("Error", {}).get("Code", ""))
    return ""
