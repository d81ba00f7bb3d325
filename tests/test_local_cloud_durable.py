"""What the cloud's EC2 side knows outlives the cloud's process, whatever ends it; what ran does not."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.waiting import until

STUBBORN = "#!/bin/sh\ntrap '' TERM HUP INT\necho up\nsetsid sh -c 'sleep 1000; :' &\nwhile :; do sleep 1; done\n"


def options(folder: Path) -> tuple[str, ...]:
    if not (folder / "image").exists():
        make_image(folder / "image")
    return "--image", f"base={folder / 'image'}", "--boot-seconds", "0", "--grace-seconds", "0.5"


def fill(cloud: CloudProcess) -> None:
    """One of each thing that is kept."""
    iam, ec2, scaling = cloud.client("iam"), cloud.ec2, cloud.client("autoscaling")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument='{"Version": "2012-10-17", "Statement": []}')
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName="worker", PolicyName="own", PolicyDocument=policy)
    iam.create_instance_profile(InstanceProfileName="workers")
    iam.add_role_to_instance_profile(InstanceProfileName="workers", RoleName="worker")
    vpc = ec2.create_vpc(CidrBlock="10.7.0.0/16")["Vpc"]["VpcId"]
    ec2.create_subnet(VpcId=vpc, CidrBlock="10.7.1.0/24", AvailabilityZone="us-east-1b")
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=vpc)["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80}]
    )
    data = {"ImageId": cloud.image(), "InstanceType": "t3.micro"}
    ec2.create_key_pair(KeyName="made", KeyType="rsa", TagSpecifications=[tagged("key-pair")])
    ec2.create_launch_template(LaunchTemplateName="worker", LaunchTemplateData=data)
    ec2.create_launch_template_version(LaunchTemplateName="worker", LaunchTemplateData=data)
    cloud.client("ssm").put_parameter(Name="/setting", Value="kept", Type="String")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="pool",
        LaunchTemplate={"LaunchTemplateName": "worker", "Version": "$Latest"},
        AvailabilityZones=["us-east-1a"],
        MinSize=0,
        MaxSize=3,
        DesiredCapacity=2,
    )
    member = scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]["Instances"][0]["InstanceId"]
    scaling.terminate_instance_in_auto_scaling_group(InstanceId=member, ShouldDecrementDesiredCapacity=True)


def tagged(kind: str) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": [{"Key": "kind", "Value": kind}]}


def known(cloud: CloudProcess) -> dict[str, Any]:
    """What is described of them, without what a restart may change."""
    iam, ec2, scaling = cloud.client("iam"), cloud.ec2, cloud.client("autoscaling")
    group = scaling.describe_auto_scaling_groups()["AutoScalingGroups"][0]
    described = {
        "role": iam.get_role(RoleName="worker")["Role"],
        "role policy": iam.get_role_policy(RoleName="worker", PolicyName="own")["PolicyDocument"],
        "profile": iam.get_instance_profile(InstanceProfileName="workers")["InstanceProfile"],
        "networks": ec2.describe_vpcs()["Vpcs"],
        "subnets": ec2.describe_subnets()["Subnets"],
        "security groups": ec2.describe_security_groups()["SecurityGroups"],
        "keys": ec2.describe_key_pairs()["KeyPairs"],
        "templates": ec2.describe_launch_templates()["LaunchTemplates"],
        "versions": ec2.describe_launch_template_versions(LaunchTemplateName="worker")["LaunchTemplateVersions"],
        "images": ec2.describe_images(Owners=["self"])["Images"],
        "parameter": cloud.client("ssm").get_parameter(Name="/setting")["Parameter"],
        "group": {key: group[key] for key in ("AutoScalingGroupARN", "MinSize", "MaxSize", "DesiredCapacity")},
    }
    for subnet in described["subnets"]:
        # Instances that have ended give their addresses back.
        subnet.pop("AvailableIpAddressCount")
    for image in described["images"]:
        # A registered folder is registered anew, its volume has no content.
        for volatile in ("CreationDate", "BlockDeviceMappings"):
            image.pop(volatile)
    return described


def wait_for_members(cloud: CloudProcess, number: int) -> None:
    describe = cloud.client("autoscaling").describe_auto_scaling_groups
    until(lambda: len(describe()["AutoScalingGroups"][0]["Instances"]) == number)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_made_is_there_again_with_the_same_ids(tmp_path: Path, end: signal.Signals) -> None:
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        fill(cloud)
        before = known(cloud)
        cloud.process.send_signal(end)
        cloud.process.wait(30)
    for _ in range(2):
        with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
            after = known(cloud)
            for what, described in before.items():
                assert after[what] == described, what
            wait_for_members(cloud, 1)
            _, errors = cloud.close()
            assert "could not" not in errors


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_instances_are_remembered_and_none_goes_on_alone(tmp_path: Path, end: signal.Signals) -> None:
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        cloud.client("iam").create_instance_profile(InstanceProfileName="workers")
        kept = cloud.launch(
            STUBBORN + "# kept\n",
            InstanceType="t3.small",
            IamInstanceProfile={"Name": "workers"},
            TagSpecifications=[tagged("instance")],
            Placement={"AvailabilityZone": "us-east-1c"},
            ClientToken="once",
        )
        ending = cloud.launch(STUBBORN, InstanceInitiatedShutdownBehavior="terminate")
        spot = cloud.launch(STUBBORN, InstanceMarketOptions={"MarketType": "spot"})
        ended = cloud.launch(STUBBORN)
        cloud.terminate(ended)
        for identifier in (kept, ending, spot):
            cloud.wait_for_console(identifier, "up")
        cloud.ec2.create_tags(Resources=[kept], Tags=[{"Key": "later", "Value": "1"}])
        (cloud.folder(kept) / "root" / "written").write_text("by the instance")
        before = cloud.describe(kept)
        cloud.process.send_signal(end)
        cloud.process.wait(30)
        until(lambda: cloud.processes() == [])

    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        assert {one: cloud.state(one) for one in (kept, ending, spot, ended)} == {
            kept: "stopped",
            ending: "terminated",
            spot: "terminated",
            ended: "terminated",
        }
        after = cloud.describe(kept)
        assert after["StateReason"]["Code"] == "Server.ScheduledStop"
        assert cloud.describe(ending)["StateReason"]["Code"] == "Server.InternalError"
        assert cloud.describe(ended)["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
        assert cloud.describe(spot)["InstanceLifecycle"] == "spot"
        volatile = {"State", "StateReason", "StateTransitionReason", "NetworkInterfaces", "PublicIpAddress"}
        volatile |= {"PublicDnsName", "UsageOperationUpdateTime", "BlockDeviceMappings"}
        assert {key: after[key] for key in after if key not in volatile} == {
            key: before[key] for key in before if key not in volatile
        }
        again = cloud.launch(
            STUBBORN + "# kept\n",
            InstanceType="t3.small",
            IamInstanceProfile={"Name": "workers"},
            TagSpecifications=[tagged("instance")],
            Placement={"AvailabilityZone": "us-east-1c"},
            ClientToken="once",
        )
        assert again == kept
        assert "up" in cloud.console(kept)

        cloud.ec2.start_instances(InstanceIds=[kept])
        cloud.wait_for(kept, "running")
        assert (cloud.folder(kept) / "root" / "written").read_text() == "by the instance"
        cloud.terminate(kept)
        assert not (cloud.folder(ending) / "root").exists()


def test_the_terminated_are_forgotten_after_a_restart_too(tmp_path: Path) -> None:
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        identifier = cloud.launch()
        cloud.terminate(identifier)
    with running_cloud(tmp_path / "state", *options(tmp_path), "--forget-seconds", "0") as cloud:
        until(lambda: cloud.ec2.describe_instances()["Reservations"] == [])
        until(lambda: not cloud.folder(identifier).exists())


def test_an_image_made_from_an_instance_is_there_again_after_a_kill(tmp_path: Path) -> None:
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        baked = cloud.launch("#!/bin/sh\necho baked >note; echo up\n")
        cloud.wait_for_console(baked, "up")
        image = cloud.ec2.create_image(InstanceId=baked, Name="baked", TagSpecifications=[tagged("image")])["ImageId"]
        described = cloud.ec2.describe_images
        until(lambda: described(ImageIds=[image])["Images"][0]["State"] == "available")
        before = described(ImageIds=[image])["Images"][0]
        cloud.process.kill()
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        after = cloud.ec2.describe_images(ImageIds=[image])["Images"][0]
        for key in ("Name", "CreationDate", "Tags", "Architecture"):
            assert after[key] == before[key]
        identifier = cloud.launch("#!/bin/sh\ncat note\n", ImageId=image)
        cloud.wait_for_console(identifier, "baked")


def test_a_line_cut_short_by_a_kill_is_left_out_and_a_refused_call_is_told(tmp_path: Path) -> None:
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        for name in ("first", "second"):
            cloud.ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"ImageId": cloud.image()})
    calls = tmp_path / "state" / "cloud" / "calls.jsonl"
    lines = calls.read_text().splitlines()
    assert len(lines) == 2
    # The first one twice: it cannot be made again. The second one half.
    calls.write_text(f"{lines[0]}\n{lines[0]}\n{lines[1][:40]}")
    with running_cloud(tmp_path / "state", *options(tmp_path)) as cloud:
        names = [found["LaunchTemplateName"] for found in cloud.ec2.describe_launch_templates()["LaunchTemplates"]]
        assert names == ["first"]
        _, errors = cloud.close()
    assert "CreateLaunchTemplate of" in errors
    assert "could not be repeated" in errors
    assert [json.loads(line)["action"] for line in calls.read_text().splitlines()] == ["CreateLaunchTemplate"] * 2
