"""What a call to EC2 and the other services of moto needs permissions for."""

from collections.abc import Iterator

from local_cloud import ACCOUNT
from local_cloud.guard.permissions import NeededPermission
from local_cloud.guard.signatures import SignedRequest, actions, form_parameters, signed_service

# Services whose name in policies is not the one in signatures.
_NAMES = {"monitoring": "cloudwatch"}


class Ec2Needs:
    """A function with a region.

    Calls that name instances ask for these instances. All others ask for `*`: a policy that names other resources
    does not allow them here, although it would on AWS.
    """

    def __init__(self, region: str) -> None:
        self._region = region

    def __call__(self, request: SignedRequest) -> Iterator[NeededPermission]:
        service = signed_service(request)
        names = actions(request)
        action = f"{_NAMES.get(service, service)}:{names[0]}" if service and len(names) == 1 else ""
        fields = {**form_parameters(request), **request.parameters}
        prefix = f"arn:aws:ec2:{self._region}:{ACCOUNT}:instance/"
        instances = [
            value
            for field, values in fields.items()
            if field.startswith(("InstanceId", "ResourceId"))
            for value in values
        ]
        if service == "ec2" and instances:
            yield from (NeededPermission(action, prefix + one) for one in instances)
        else:
            yield NeededPermission(action)
