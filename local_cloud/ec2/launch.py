"""Checks launches as EC2 does, and sets what moto leaves out."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.utils import random_spot_request_id

from local_cloud.ec2 import groups
from local_cloud.ec2.record import LaunchDetails, make_spot
from local_cloud.machines.instance_host import InstanceHost

USER_DATA_BYTES = 16384


class Capacity(Protocol):
    def grant(self, kind: str, zone: str, least: int, most: int) -> int:
        """How many instances of type `kind` can be launched in `zone`: `least` to `most`, or 0."""


@dataclass(frozen=True)
class LaunchRequest:
    """The parts of a RunInstances call that do not reach moto's backend."""

    least: int = 0
    most: int = 0
    token: str | None = None
    parameters: Any = None
    protected: bool = False
    market: Mapping[str, Any] | None = None


def check(
    host: InstanceHost, backend: Any, image: str, user_data: Any, kwargs: Mapping[str, Any], template: Mapping[str, Any]
) -> None:
    """Check a launch. Raises EC2ClientError when EC2 would refuse it."""
    if host.closing:
        raise EC2ClientError("Unavailable", "The local cloud is stopping")
    if not re.fullmatch(r"ami-[0-9a-f]+", image or ""):
        raise EC2ClientError("InvalidAMIID.Malformed", f'Invalid id: "{image}" (expecting "ami-...")')
    if host.images.folder(image) is None:
        if image in backend.amis:
            raise EC2ClientError("InvalidAMIID.Unavailable", f"The image id '[{image}]' is not available yet")
        raise InvalidAMIIdError(image)
    kind = _kind(kwargs, template)
    if kind not in INSTANCE_TYPES:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{kind}' for InstanceType.")
    data = user_data or template.get("UserData")
    if data is not None and len(base64.b64decode(str(data))) > USER_DATA_BYTES:
        raise EC2ClientError("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")


def granted(
    capacity: Capacity | None, least: int, most: int, zone: str, kwargs: Mapping[str, Any], template: Mapping[str, Any]
) -> int:
    """How many instances to launch. Raises EC2ClientError when there is no capacity for `least`."""
    if capacity is None:
        return most
    kind = _kind(kwargs, template)
    count = capacity.grant(kind, zone, least, most)
    if count == 0:
        raise EC2ClientError(
            "InsufficientInstanceCapacity",
            f"We currently do not have sufficient {kind} capacity in the Availability Zone you requested ({zone}).",
        )
    return count


def template_data(backend: Any, kwargs: dict[str, Any]) -> Mapping[str, Any]:
    """The data of the launch template; empty without one."""
    arguments = kwargs.get("launch_template")
    if not arguments:
        return {}
    version = groups.template_version()
    if version and "Version" not in arguments:
        arguments = kwargs["launch_template"] = {**arguments, "Version": version}
    data: Mapping[str, Any] = backend._get_template_from_args(arguments).data
    return data


def _kind(kwargs: Mapping[str, Any], template: Mapping[str, Any]) -> str:
    kind = str(kwargs.get("instance_type", ""))
    return str(template.get("InstanceType", kind)) if kwargs.get("is_instance_type_default") else kind


def what_to_remember(asked: LaunchRequest, kwargs: Mapping[str, Any], template: Mapping[str, Any]) -> LaunchDetails:
    """What to remember of a launch. Raises EC2ClientError for an unknown market."""
    market = asked.market or template.get("InstanceMarketOptions") or {}
    spot = kwargs.get("lifecycle") == "spot" or market.get("MarketType") == "spot"
    if market and not spot:
        raise EC2ClientError("InvalidParameterValue", f"Invalid value '{market.get('MarketType')}' for MarketType.")
    behaviour = market.get("SpotOptions", {}).get("InstanceInterruptionBehavior", "terminate")
    if spot and behaviour not in ("terminate", "stop"):
        raise EC2ClientError("UnsupportedOperation", f"Spot instances cannot {behaviour} here")
    end = {"terminate": "terminated", "stop": "stopped"}[behaviour] if spot else None
    return LaunchDetails(end, asked.token, asked.parameters or "")


def complete(
    instance: Any, kwargs: Mapping[str, Any], template: Mapping[str, Any], asked: LaunchRequest, launch: LaunchDetails
) -> None:
    """Set the attributes that moto leaves out."""
    if not kwargs.get("instance_initiated_shutdown_behavior"):
        instance.instance_initiated_shutdown_behavior = template.get("InstanceInitiatedShutdownBehavior", "stop")
    instance.disable_api_termination = asked.protected or bool(template.get("DisableApiTermination"))
    if launch.spot_end_state:
        make_spot(instance, random_spot_request_id())


def assign_profile(backend: Any, instances: list[Any], kwargs: Mapping[str, Any], from_template: Any) -> None:
    """Give every instance its profile. moto gives it to the first instance only, and to none from a template."""
    name, arn = kwargs.get("iam_instance_profile_name"), kwargs.get("iam_instance_profile_arn")
    if name or arn:
        instances = instances[1:]
    else:
        name, arn = from_template.get("Name"), from_template.get("Arn")
    if name or arn:
        for instance in instances:
            backend.associate_iam_instance_profile(
                instance_id=instance.id, iam_instance_profile_name=name, iam_instance_profile_arn=arn
            )
