"""Auto Scaling groups: kept at their desired capacity, within their bounds."""

import base64
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.waiting import until


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    options = ("--boot-seconds", "0", "--grace-seconds", "1")
    with running_cloud(folder / "state", "--image", f"base={image}", *options) as cloud:
        for kind in ("t3.nano", "t3.micro"):
            data = {
                "ImageId": cloud.image(),
                "InstanceType": kind,
                "UserData": base64.b64encode(b"#!/bin/sh\nexec sleep 600\n").decode(),
                "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "kind", "Value": kind}]}],
            }
            if kind == "t3.nano":
                cloud.ec2.create_launch_template(LaunchTemplateName="group", LaunchTemplateData=data)
            else:
                cloud.ec2.create_launch_template_version(LaunchTemplateName="group", LaunchTemplateData=data)
        yield cloud


class Group:
    """One group of its own, gone after the test."""

    def __init__(self, cloud: CloudProcess, name: str, **parameters: Any) -> None:
        self.name = name
        self.api = cloud.client("autoscaling")
        self.api.create_auto_scaling_group(
            AutoScalingGroupName=name,
            LaunchTemplate={"LaunchTemplateName": "group", "Version": "$Latest"},
            AvailabilityZones=["us-east-1a"],
            **{"MinSize": 0, "MaxSize": 3, "DesiredCapacity": 2, **parameters},
        )

    def describe(self) -> dict[str, Any]:
        answer = self.api.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])
        found: dict[str, Any] = answer["AutoScalingGroups"][0]
        return found

    def members(self) -> list[str]:
        return [str(instance["InstanceId"]) for instance in self.describe()["Instances"]]

    def set_desired(self, number: int) -> None:
        self.api.set_desired_capacity(AutoScalingGroupName=self.name, DesiredCapacity=number)

    def delete(self) -> None:
        self.api.delete_auto_scaling_group(AutoScalingGroupName=self.name, ForceDelete=True)


@pytest.fixture
def make(cloud: CloudProcess, request: pytest.FixtureRequest) -> Iterator[Callable[..., Group]]:
    made: list[Group] = []

    def one(**parameters: Any) -> Group:
        made.append(Group(cloud, request.node.name[:100], **parameters))
        return made[-1]

    yield one
    for group in made:
        members = group.members()
        group.delete()
        for member in members:
            cloud.wait_for(member, "terminated")


def test_a_group_launches_the_version_it_asks_for_and_terminates(
    cloud: CloudProcess, make: Callable[..., Group]
) -> None:
    group = make()
    members = group.members()
    assert len(members) == 2
    for member in members:
        described = cloud.wait_for(member, "running")
        assert described["InstanceType"] == "t3.micro"
        tags = {tag["Key"]: tag["Value"] for tag in described["Tags"]}
        assert tags["kind"] == "t3.micro"
        assert tags["aws:autoscaling:groupName"] == group.name
        assert tags["aws:ec2launchtemplate:version"] == "2"
    group.set_desired(0)
    for member in members:
        cloud.wait_for(member, "terminated")


@pytest.mark.parametrize("death", ["terminated from outside", "stopped by itself", "reported as unhealthy"])
def test_a_dead_member_is_replaced(cloud: CloudProcess, make: Callable[..., Group], death: str) -> None:
    group = make(DesiredCapacity=2)
    gone, kept = group.members()
    cloud.wait_for(gone, "running")
    if death == "terminated from outside":
        cloud.ec2.terminate_instances(InstanceIds=[gone])
    elif death == "stopped by itself":
        cloud.ec2.stop_instances(InstanceIds=[gone])
    else:
        group.api.set_instance_health(InstanceId=gone, HealthStatus="Unhealthy")
    until(lambda: len(group.members()) == 2 and gone not in group.members())
    assert kept in group.members()
    cloud.wait_for(gone, "terminated")
    assert group.describe()["DesiredCapacity"] == 2


def test_a_member_leaves_with_or_without_a_successor(cloud: CloudProcess, make: Callable[..., Group]) -> None:
    group = make(DesiredCapacity=2, MinSize=1)
    first, second = group.members()
    group.api.terminate_instance_in_auto_scaling_group(InstanceId=first, ShouldDecrementDesiredCapacity=True)
    assert group.describe()["DesiredCapacity"] == 1
    assert group.members() == [second]
    with pytest.raises(ClientError, match="min size constraint"):
        group.api.terminate_instance_in_auto_scaling_group(InstanceId=second, ShouldDecrementDesiredCapacity=True)
    group.api.terminate_instance_in_auto_scaling_group(InstanceId=second, ShouldDecrementDesiredCapacity=False)
    until(lambda: len(group.members()) == 1 and second not in group.members())
    with pytest.raises(ClientError, match="No managed instance found"):
        group.api.terminate_instance_in_auto_scaling_group(InstanceId=first, ShouldDecrementDesiredCapacity=True)


def test_protected_members_are_not_scaled_in(cloud: CloudProcess, make: Callable[..., Group]) -> None:
    group = make(DesiredCapacity=2, NewInstancesProtectedFromScaleIn=True)
    members = group.members()
    assert all(instance["ProtectedFromScaleIn"] for instance in group.describe()["Instances"])
    group.set_desired(0)
    assert sorted(group.members()) == sorted(members)
    group.api.set_instance_protection(
        AutoScalingGroupName=group.name, InstanceIds=members[:1], ProtectedFromScaleIn=False
    )
    group.set_desired(0)
    assert group.members() == members[1:]
    cloud.wait_for(members[0], "terminated")
    assert cloud.state(members[1]) in ("pending", "running")


def test_the_bounds_hold(make: Callable[..., Group]) -> None:
    group = make(MinSize=1, MaxSize=2, DesiredCapacity=1)
    for number in (0, 3):
        with pytest.raises(ClientError, match="ValidationError"):
            group.set_desired(number)
    assert len(group.members()) == 1


def test_suspended_processes_rest(cloud: CloudProcess, make: Callable[..., Group]) -> None:
    group = make(DesiredCapacity=1)
    member = group.members()[0]
    group.api.suspend_processes(AutoScalingGroupName=group.name, ScalingProcesses=["Launch"])
    cloud.terminate(member)
    until(lambda: group.members() == [])
    group.set_desired(2)
    assert group.members() == []
    group.api.resume_processes(AutoScalingGroupName=group.name, ScalingProcesses=["Launch"])
    until(lambda: len(group.members()) == 2)


def test_a_group_with_members_is_deleted_by_force_alone(cloud: CloudProcess, make: Callable[..., Group]) -> None:
    group = make(DesiredCapacity=1, NewInstancesProtectedFromScaleIn=True)
    with pytest.raises(ClientError, match="ResourceInUse"):
        group.api.delete_auto_scaling_group(AutoScalingGroupName=group.name)
    assert len(group.members()) == 1
