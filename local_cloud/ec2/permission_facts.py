"""What the guard asks about the things that a call names, from moto's books."""

from collections.abc import Callable, Mapping
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.exceptions import EC2ClientError

from local_cloud import ACCOUNT
from local_cloud.ec2.launch import template_data
from local_cloud.ec2.record import Ec2Record


class PermissionFacts:
    """See `local_cloud.guard.ec2_needs.KnownThings`. find: the record of an instance by its id."""

    def __init__(self, region: str, backend: Any, find: Callable[[str], Ec2Record | None]) -> None:
        self._region = region
        self._backend = backend
        self._find = find

    def tags(self, identifier: str) -> Mapping[str, str]:
        record = self._find(identifier)
        return record.tags() if record else dict(self._backend.tags.get(identifier, {}))

    def template(self, name: str, version: str) -> Mapping[str, Any]:
        if not name:
            return {}
        try:
            asked = {"LaunchTemplateName": name, **({"Version": version} if version else {})}
            return template_data(self._backend, {"launch_template": asked})
        except EC2ClientError:
            return {}

    def group(self, instance: str) -> str:
        groups = autoscaling_backends[ACCOUNT][self._region].autoscaling_groups
        members = ((name, state.instance.id) for name, group in groups.items() for state in group.instance_states)
        return next((name for name, one in members if one == instance), "")
