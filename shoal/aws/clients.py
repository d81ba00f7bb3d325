"""boto3 clients, made once at the first use, and their errors translated into ours."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import botocore.exceptions
import botocore.parsers
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
# EC2 answers 500 where it has no capacity, which botocore tries again. The controller does so itself, a tick later and
# with another type; five tries take longer than its lease.
LAUNCHING = Config(retries={"mode": "standard", "total_max_attempts": 2})

_NOT_FOUND = {
    "NoSuchKey",
    "NoSuchBucket",
    "NoSuchLifecycleConfiguration",
    "NoSuchEntity",
    "404",
    "NotFound",
    "QueueDoesNotExist",
    "NonExistentQueue",
    "InvalidInstanceID.NotFound",
    "InvalidAMIID.NotFound",
    "InvalidSnapshot.NotFound",
    "InvalidAMIID.Unavailable",  # deregistered, or not made yet
    "ResourceNotFoundException",
    "ParameterNotFound",
    "LoadBalancerNotFound",
    "TargetGroupNotFound",
    "InvalidLaunchTemplateName.NotFoundException",
    "InvalidLaunchTemplateId.NotFound",
    "InvalidLaunchTemplateId.NotFoundException",  # of emulators, also for a name
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
    "AuthFailure.ServiceLinkedRoleCreationNotPermitted",  # the account never had a spot instance: `shoal prepare`
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
    "ConditionalRequestConflict",  # S3: somebody else writes the object at this moment
    "OperationAborted",  # S3: the bucket is being made or removed at this moment
    "PendingVerification",  # EC2 looks at an account that has never been in this region
    "ServiceLinkedRoleFailure",  # Auto Scaling: its role was made a moment ago
}
_CALL_WITHOUT_NAMES = {"s3": "list_buckets", "sqs": "list_queues", "dynamodb": "list_tables"}
_WRONG_CLOCK = {"RequestTimeTooSkewed", "RequestExpired"}
_SIGNATURE_TIME = ("Signature expired", "Signature not yet current")  # the words of the other services
_SQS = "AWS.SimpleQueueService."  # SQS' older protocol puts it before its codes


def _buckets(in_path: bool) -> Config:
    """A new one for each client: botocore writes into it.

    boto3 signs forms and addresses with Version 2 in some regions; new buckets refuse that, and so does the embedded
    cloud. By default it sends forms to the one host of all regions, and in us-east-1 all calls.
    """
    hosts = {"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"}
    return Config(signature_version="s3v4", s3={"addressing_style": "path"} if in_path else hosts)


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
                made = self._maker.client(service, endpoint_url=address or None, config=self._config(service))
                if self._core.get_credentials() is None:
                    return made  # it would never sign, and the metadata service may give credentials a moment later
                self._clients[service] = made
            return self._clients[service]

    def _config(self, service: str) -> Config:
        config = DIRECT_CONFIG if is_direct(self.endpoint(service)) else CONFIG
        if service == "s3":
            return config.merge(_buckets(self.bucket_in_path))
        return config.merge(LAUNCHING) if service in ("ec2", "autoscaling") else config

    @cached_property
    def bucket_in_path(self) -> bool:
        """Whether the name of a bucket stands in the path and not in the host: where S3 has an address of its own."""
        return bool(self.endpoint("s3") or {"endpoint_url", "services"} & self._core.get_scoped_config().keys())

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
        self._address = "" if given else session().endpoint(name)

    @property
    def client(self) -> Any:
        """boto3's client. Raises Permanent where it cannot be made."""
        return self.given or client(self.name)

    @property
    def endpoint(self) -> str:
        """The address, without a slash at the end."""
        return self._address or self._of_boto3()

    def _of_boto3(self) -> str:
        """Where boto3 sends the calls of this service, by an address that it signs.

        The one in a client's `meta` follows older rules: it does where there are no credentials yet.
        """
        plain = str(self.client.meta.endpoint_url).rstrip("/")
        if self.given:
            return plain
        try:
            found = urlsplit(self.client.generate_presigned_url(_CALL_WITHOUT_NAMES[self.name]))
        except botocore.exceptions.NoCredentialsError:
            return plain
        self._address = f"{found.scheme}://{found.netloc}"
        return self._address

    def bucket(self, name: str) -> str:
        """The address of a bucket, without a slash at the end, as boto3 has it."""
        if self.given or session().bucket_in_path:
            return f"{self.endpoint}/{name}"
        scheme, _, host = self.endpoint.partition("://")
        return f"{scheme}://{name}.{host}"


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
    except botocore.exceptions.CredentialRetrievalError as error:  # the metadata service does not answer now
        raise Retryable(f"{what}: {error}") from error
    except botocore.exceptions.NoCredentialsError as error:
        raise Permanent(f"{what}: no AWS credentials: run `aws configure` or give the instance a role") from error
    except botocore.exceptions.NoRegionError as error:
        raise Permanent(f"{what}: no AWS region is set: set AWS_DEFAULT_REGION") from error
    except botocore.exceptions.BotoCoreError as error:
        raise Permanent(f"{what}: {error}") from error
    except botocore.parsers.ResponseParserError as error:  # of a proxy, or of a service that breaks
        raise Retryable(f"{what}: the answer is not AWS': {error}") from error


def _translated(what: str, error: botocore.exceptions.ClientError) -> ShoalError:
    details = error.response.get("Error", {})
    code, message = str(details.get("Code", "")), details.get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = code.removeprefix(_SQS)
    text = f"{what}: {code}: {message}"
    if code in _WRONG_CLOCK or message.startswith(_SIGNATURE_TIME):
        return Retryable(f"{text} (the clock of this machine is wrong: set it, or let it follow a time server)")
    if code == "AuthFailure":
        return Permanent(f"{text} (the keys are not of this account, or the clock of this machine is wrong)")
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
        return str(cause.response.get("Error", {}).get("Code", "")).removeprefix(_SQS)
    return ""
