"""InstancePool on an EC2 Auto Scaling group, for organisations that want AWS itself to hold the fleet.

The group only launches. Every member is protected from scale-in, so the group never ends a worker. A worker that is
asked to leave is detached first, and the desired capacity lowered with it: otherwise the group would replace it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shoal.aws.clients import error_code, our_errors
from shoal.aws.ec2 import LAUNCH_TAG, POOL_TAG, Ec2Pool
from shoal.aws.template import LaunchTemplate
from shoal.errors import CapacityUnavailable, NotFound, Permanent, Retryable
from shoal.ports import Instance

WANTED_TAG = "shoal:wanted"  # the desired capacity that the launch in LAUNCH_TAG set
ZONE = "availability-zone"
DETACH_AT_ONCE = 20  # the API's own limit
GONE = ("Terminating", "Terminated", "Detaching", "Detached")
CAN_LEAVE = ("InService", "Standby")  # the API refuses the whole call for any other


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The group's part of the settings.

    pool:   the value of the pool tag.
    types:  instance types, in the order of preference.  places: subnet ids or zone names; empty leaves it to EC2.
    most:   returns the group's own maximum, which a reload may change: a second gate behind the controller's.
    """

    name: str
    pool: str
    types: Sequence[str]
    places: Sequence[str]
    spot_share: float
    most: Callable[[], int]


class AutoScalingPool:
    """The group, made if it is missing, and the detached instances that still drain.

    autoscaling: makes the client, at the first use.
    machines:    describes, tags and terminates the instances themselves.
    zones:       the names of all zones, for a group without places.
    """

    def __init__(
        self,
        autoscaling: Callable[[], Any],
        group: GroupSettings,
        machines: Ec2Pool,
        template: LaunchTemplate,
        zones: Callable[[], list[str]],
    ) -> None:
        self._make_client = autoscaling
        self._settings = group
        self._group = group.name
        self._machines = machines
        self._template = template
        self._zones = zones
        self._owed: dict[str, list[str]] = {}  # names for the instances of a launch, by its token

    @property
    def _autoscaling(self) -> Any:
        return self._make_client()

    def describe(self) -> list[Instance]:
        return self._named(self._machines.describe())

    def _named(self, instances: list[Instance]) -> list[Instance]:
        names = {one.name for one in instances}
        found = []
        for one in instances:
            owed = [name for name in self._owed.get(one.launch, ()) if name not in names]
            if not one.name and owed:
                self._machines.name([one], owed)
                names.add(owed[0])
                one = replace(one, name=owed[0])
            found.append(one)
        return found

    def token(self, count: int) -> str:  # noqa: ARG002 - the group decides what it launches
        return uuid.uuid4().hex

    def launch(self, names: Sequence[str], token: str) -> list[Instance]:
        """Raise the desired capacity by len(names), once for each token.

        The group's tags hold the token and the new capacity; new instances carry the token. They show up when the
        group has launched them, so the returned instances have no id yet.
        """
        group = self._find_or_make()
        tags = {tag["Key"]: tag["Value"] for tag in group.get("Tags", ())}
        if tags.get(LAUNCH_TAG) == token:
            wanted, count = int(tags[WANTED_TAG]), len(names)
        else:
            wanted = min(group["DesiredCapacity"] + len(names), group["MaxSize"])
            count = wanted - group["DesiredCapacity"]
            if count <= 0:
                raise CapacityUnavailable(f"the group {self._group} is at its maximum of {group['MaxSize']}")
            self._tag({WANTED_TAG: str(wanted), LAUNCH_TAG: token})
        if wanted > group["DesiredCapacity"]:
            with our_errors(f"desired capacity of {self._group}"):
                self._autoscaling.set_desired_capacity(
                    AutoScalingGroupName=self._group, DesiredCapacity=wanted, HonorCooldown=False
                )
        self._owed = {token: list(names[:count])}
        return [Instance("", name, "pending", 0.0, launch=token) for name in names[:count]]

    def _tag(self, tags: dict[str, str]) -> None:
        with our_errors(f"tag group {self._group}"):
            self._autoscaling.create_or_update_tags(Tags=self._tags(tags))

    def _tags(self, tags: dict[str, str]) -> list[dict[str, Any]]:
        return [
            {
                "ResourceId": self._group,
                "ResourceType": "auto-scaling-group",
                "Key": key,
                "Value": value,
                "PropagateAtLaunch": key != WANTED_TAG,
            }
            for key, value in tags.items()
        ]

    def drain(self, ids: Sequence[str]) -> None:
        # Detach before the mark: a worker that left while it was a member would be replaced.
        members = self._members()
        mine = [one for one in ids if members.get(one) in CAN_LEAVE]
        for start in range(0, len(mine), DETACH_AT_ONCE):
            with our_errors(f"take {len(mine)} instances out of {self._group}"):
                self._autoscaling.detach_instances(
                    InstanceIds=mine[start : start + DETACH_AT_ONCE],
                    AutoScalingGroupName=self._group,
                    ShouldDecrementDesiredCapacity=True,
                )
        joining = [one for one in ids if one in members and one not in mine]
        self._machines.drain([one for one in ids if one not in joining])
        if joining:
            raise Retryable(f"{', '.join(joining)} cannot leave {self._group} yet: still joining it")

    def terminate(self, ids: Sequence[str]) -> None:
        members = self._members()
        for one in ids:
            if one in members:
                with our_errors(f"terminate {one} in {self._group}"):
                    self._autoscaling.terminate_instance_in_auto_scaling_group(
                        InstanceId=one, ShouldDecrementDesiredCapacity=True
                    )
        self._machines.terminate([one for one in ids if one not in members])

    def _members(self) -> dict[str, str]:
        """The state of each member that is not about to go."""
        group = self._find()
        instances = group["Instances"] if group else ()
        states = {one["InstanceId"]: str(one["LifecycleState"]) for one in instances}
        return {one: state for one, state in states.items() if not state.startswith(GONE)}

    def _find(self) -> dict[str, Any] | None:
        with our_errors(f"group {self._group}"):
            answer = self._autoscaling.describe_auto_scaling_groups(AutoScalingGroupNames=[self._group])
        return next(iter(answer["AutoScalingGroups"]), None)

    def _find_or_make(self) -> dict[str, Any]:
        source, most = self._source(), self._settings.most()
        group = self._find()
        if group is None:
            self._make(source)
            group = self._find()
            if group is None:
                raise NotFound(f"the group {self._group} was made and does not show up yet")
        elif group["MaxSize"] != most or not _same_source(group, source):
            with our_errors(f"update group {self._group}"):
                self._autoscaling.update_auto_scaling_group(AutoScalingGroupName=self._group, MaxSize=most, **source)
            group = {**group, "MaxSize": most}
        return group

    def _make(self, source: dict[str, Any]) -> None:
        places = list(self._settings.places)
        where: dict[str, Any] = {"VPCZoneIdentifier": ",".join(places)}
        if not places or not places[0].startswith("subnet-"):
            where = {"AvailabilityZones": places or self._zones()}
        try:
            with our_errors(f"create group {self._group}"):
                self._autoscaling.create_auto_scaling_group(
                    AutoScalingGroupName=self._group,
                    MinSize=0,
                    MaxSize=self._settings.most(),
                    DesiredCapacity=0,
                    NewInstancesProtectedFromScaleIn=True,
                    Tags=self._tags({POOL_TAG: self._settings.pool}),
                    **where,
                    **source,
                )
                # Rebalancing zones terminates instances; ours must never be terminated while they work.
                self._autoscaling.suspend_processes(AutoScalingGroupName=self._group, ScalingProcesses=["AZRebalance"])
        except Permanent as error:
            if error_code(error) != "AlreadyExists":
                raise

    def _source(self) -> dict[str, Any]:
        """What the group launches: our template's version, in the types and markets of the settings."""
        template = {"LaunchTemplateName": self._template.name, "Version": self._template.version()}
        return {
            "MixedInstancesPolicy": {
                "LaunchTemplate": {
                    "LaunchTemplateSpecification": template,
                    "Overrides": [{"InstanceType": kind} for kind in self._settings.types],
                },
                "InstancesDistribution": {
                    "OnDemandBaseCapacity": 0,
                    "OnDemandPercentageAboveBaseCapacity": round(100 * (1 - self._settings.spot_share)),
                    "OnDemandAllocationStrategy": "prioritized",
                    "SpotAllocationStrategy": "price-capacity-optimized",
                },
            }
        }


def zones(ec2: Any) -> list[str]:
    """The zones that a group may use: not Local Zones, which have few types and no default subnet."""
    with our_errors("availability zones"):
        found = ec2.describe_availability_zones()["AvailabilityZones"]
    return [one["ZoneName"] for one in found if one.get("ZoneType", ZONE) == ZONE and one["State"] == "available"]


def _same_source(group: dict[str, Any], source: dict[str, Any]) -> bool:
    def version(policy: dict[str, Any]) -> object:
        return policy.get("LaunchTemplate", {}).get("LaunchTemplateSpecification", {}).get("Version")

    return version(group.get("MixedInstancesPolicy", {})) == version(source["MixedInstancesPolicy"])
