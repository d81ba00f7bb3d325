"""What an account has for a deployment, looked up before anything is made, with errors that say what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import requests

from shoal.aws.clients import client, error_code, our_errors, region
from shoal.aws.template import LaunchTemplate
from shoal.deployment.choices import Choices, Found
from shoal.errors import NotFound, Permanent, Retryable, ShoalError
from shoal.settings import Settings

T = TypeVar("T")

DEBIAN = "136693071363"  # its account
DEBIAN_PARAMETER = "/aws/service/debian/release/12/latest/amd64"
# EC2's quotas of vCPUs of the standard families (A, C, D, H, I, M, R, T, Z).
ON_DEMAND_QUOTA, SPOT_QUOTA = "L-1216C47A", "L-34B43A08"
NOT_ASKED = ("UnauthorizedOperation", "InvalidAction")
UNKNOWN: dict[str, set[str]] = {}
WHO_AM_I = "https://checkip.amazonaws.com"
SECONDS = 10.0


def caller() -> str:
    """Who calls, as an ARN. Raises Permanent without credentials."""
    region()
    return str(_asked("who am I", lambda: client("sts").get_caller_identity())["Arn"])


def survey(settings: Settings, choices: Choices, code: str, before: dict[str, str]) -> Found:
    """Find what the deployment needs. before: the parameters of the stack that is there, empty for a first one.

    Raises Permanent, which says what is missing: a default network, a type, a quota, a name of a bucket.
    """
    check_buckets(settings)
    check_types(settings)
    check_quotas(settings)
    network, subnets = ("", ()) if choices.private else _network(settings, choices)
    page_image = ""
    if choices.page:
        # The image that the instance has: another one would replace it.
        page_image = choices.page_image or before.get("WebImage", "") or debian("--page-image")
    return Found(
        network=network,
        subnets=subnets,
        page_image=page_image,
        worker_image=_worker_image(settings),
        visitors=_visitors(choices) if choices.page else "127.0.0.1/32",
        code=code,
        password=int(before.get("PasswordVersion", "0")),
    )


def check_buckets(settings: Settings) -> None:
    """Raise Permanent for a bucket whose name another account has, or which is in another region."""
    for bucket in (settings.in_bucket, settings.out_bucket, code_bucket(settings)):
        bucket_exists(bucket)


def code_bucket(settings: Settings) -> str:
    """The bucket with the program of page and controller."""
    return f"{settings.prefix}-code-bucket"


def bake_bucket(settings: Settings) -> str:
    """The bucket that exists while an image is made."""
    return f"{settings.prefix}-bake-bucket"


def bucket_exists(bucket: str) -> bool:
    """Whether the bucket is there and ours. Raises Permanent where another account has it."""
    try:
        _asked(f"bucket {bucket}", lambda: client("s3").head_bucket(Bucket=bucket))
    except NotFound:
        return False
    except Permanent as error:
        if error_code(error) in ("403", "AccessDenied", "Forbidden"):
            told = f"bucket name {bucket} is taken by another AWS account, or you may not see it"
            raise Permanent(f"{told}: set SHOAL_PREFIX to something of your own") from error
        if error_code(error) in ("301", "PermanentRedirect"):
            raise Permanent(f"bucket {bucket} is in another region than {region()}: set AWS_DEFAULT_REGION") from error
        raise
    return True


def check_types(settings: Settings) -> None:
    """Raise Permanent for an instance type that the region does not offer."""
    wanted = sorted(settings.instance_types)
    offered = _offered("region", wanted)
    missing = [one for one in wanted if one not in offered]
    if missing and offered is not UNKNOWN:
        raise Permanent(
            f"{region()} does not offer {', '.join(missing)}: set SHOAL_INSTANCE_TYPE to a type that it has"
        )


def _offered(where: str, types: Sequence[str]) -> dict[str, set[str]]:
    """Which types are offered in which places; UNKNOWN to who may not ask. where: region or availability-zone."""
    filters = [{"Name": "instance-type", "Values": list(types)}]
    try:
        with our_errors("instance types"):
            answer = client("ec2").describe_instance_type_offerings(LocationType=where, Filters=filters)
    except Permanent as error:
        if error_code(error) in NOT_ASKED:
            return UNKNOWN
        raise
    found: dict[str, set[str]] = {}
    for one in answer["InstanceTypeOfferings"]:
        found.setdefault(one["InstanceType"], set()).add(one["Location"])
    return found


def check_quotas(settings: Settings) -> None:
    """Raise Permanent for a quota of 0 vCPUs. An account that may not look passes: a launch tells then."""
    needed = []
    if settings.spot_share < 1:
        needed.append((ON_DEMAND_QUOTA, "on demand"))
    if settings.spot_share > 0:
        needed.append((SPOT_QUOTA, "spot"))
    for code, words in needed:
        try:
            quota = _asked(
                f"quota {code}",
                lambda code=code: client("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code),  # type: ignore[misc]
            )
        except ShoalError:
            continue
        if quota["Quota"]["Value"] < 1:
            told = f"the account's quota of vCPUs {words} in {region()} is 0 ({code})"
            raise Permanent(f"{told}: ask for more under Service Quotas, EC2")


def _network(settings: Settings, choices: Choices) -> tuple[str, tuple[str, ...]]:
    """The network and those of its subnets whose zones have one of the workers' types."""
    if choices.vpc:
        return choices.vpc, choices.subnets
    ec2 = client("ec2")
    filters = [{"Name": "is-default", "Values": ["true"]}]
    [*networks] = _asked("default network", lambda: ec2.describe_vpcs(Filters=filters))["Vpcs"]
    if not networks:
        told = (
            f"this account has no default network in {region()}: name one with --vpc and --subnets, or take --private"
        )
        raise Permanent(f"{told} (`aws ec2 create-default-vpc` makes the default one again)")
    network = str(networks[0]["VpcId"])
    filters = [{"Name": "vpc-id", "Values": [network]}]
    subnets = _asked("subnets", lambda: ec2.describe_subnets(Filters=filters))["Subnets"]
    offered = _offered("availability-zone", settings.instance_types)
    zones = set().union(*offered.values())
    good = tuple(sorted(one["SubnetId"] for one in subnets if one["AvailabilityZone"] in zones or offered is UNKNOWN))
    if not good:
        raise Permanent(f"no subnet of {network} is in a zone that offers {', '.join(settings.instance_types)}")
    return network, good


def _worker_image(settings: Settings) -> str:
    """The newest image of the workers; empty when none is there yet, which the controller says too."""
    template = LaunchTemplate(lambda: client("ec2"), settings.launch_template, settings.image, lambda: "")
    try:
        return template.image_id()
    except NotFound:
        return ""


def debian(option: str) -> str:
    """The newest Debian 12, by Debian's parameter or by its account. option: names another image, for the error."""
    try:
        answer = _asked("Debian's image", lambda: client("ssm").get_parameter(Name=DEBIAN_PARAMETER))
        return str(answer["Parameter"]["Value"])
    except Permanent:
        filters = [{"Name": "name", "Values": ["debian-12-amd64-*"]}]
        images = _asked("Debian's images", lambda: client("ec2").describe_images(Owners=[DEBIAN], Filters=filters))[
            "Images"
        ]
    if not images:
        raise Permanent(f"{region()} has no image of Debian 12: name one with {option}")
    return str(max(images, key=lambda image: str(image.get("CreationDate", "")))["ImageId"])


def _visitors(choices: Choices) -> str:
    """Who reaches the page: with a domain all, who sign in; without TLS the person's own address alone."""
    if choices.visitors:
        return choices.visitors
    if choices.domain:
        return "0.0.0.0/0"
    try:
        address = requests.get(WHO_AM_I, timeout=SECONDS).text.strip()
    except requests.RequestException as error:
        reason = type(error).__name__
        raise Retryable(f"cannot ask {WHO_AM_I} for your address ({reason}): name it with --visitors") from error
    return f"{address}/32"


def _asked(what: str, call: Callable[[], T]) -> T:
    """The answer of a call."""
    with our_errors(what):
        return call()
