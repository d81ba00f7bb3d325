"""ModifyInstanceAttribute: changes that moto mistakes for security groups, and changes that EC2 refuses."""

from typing import Any

from moto.core.responses import EmptyResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instance_types import INSTANCE_TYPES
from moto.ec2.responses.instances import InstanceResponse

from local_cloud import points

ONLY_WHEN_STOPPED = ("InstanceType", "UserData")


def connect() -> None:
    """Put the hook in."""
    points.replace(InstanceResponse, "modify_instance_attribute", _modify)


def _modify(original: points.Function) -> points.Function:
    def modify_instance_attribute(response: Any) -> Any:
        instance = response.ec2_backend.get_instance(response._get_param("InstanceId"))
        behaviour = response._get_param("InstanceInitiatedShutdownBehavior.Value")
        if behaviour is None:
            _check(response, instance)
            return original(response)
        if behaviour not in ("stop", "terminate"):
            raise EC2ClientError("InvalidParameterValue", f"Invalid value '{behaviour}' for the shutdown behavior")
        instance.instance_initiated_shutdown_behavior = behaviour
        return EmptyResult()

    return modify_instance_attribute


def _check(response: Any, instance: Any) -> None:
    for name in ONLY_WHEN_STOPPED:
        value = response._get_param(f"{name}.Value")
        if value is None:
            continue
        if instance._state.name != "stopped":
            text = f"The instance '{instance.id}' is not in the 'stopped' state."
            raise EC2ClientError("IncorrectInstanceState", text)
        if name == "InstanceType" and value not in INSTANCE_TYPES:
            raise EC2ClientError("InvalidParameterValue", f"Invalid value '{value}' for InstanceType.")
