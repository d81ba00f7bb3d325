"""What the EC2 actuators do beyond the ports' contract: templates, repeated tokens, capacity, markets, groups."""

from __future__ import annotations

import logging
import os
import uuid
from typing import Any

import pytest

from shoal.aws import connect
from shoal.aws.autoscaling import AutoScalingPool
from shoal.aws.clients import client
from shoal.aws.ec2 import Ec2Pool
from shoal.aws.iam import create_role
from shoal.aws.instance_choice import Ask, InstanceOption
from shoal.aws.metadata import InstanceMetadata
from shoal.errors import CapacityUnavailable, Permanent, Retryable, SettingsError
from shoal.ports import InstancePool
from shoal.settings import load
from tests.refusal_fixtures import refusal
from tests.signed_fixtures import send_signed
from tests.waiting import wait_for

SLEEP = "#!/bin/sh\nexec sleep 600\n"
DEADLINE_SECONDS = 20.0


class Pools:
    """Pools of one prefix on the embedded cloud, as several controllers would have them."""

    def __init__(self) -> None:
        self.prefix = f"t{uuid.uuid4().hex[:12]}"
        create_role(client("iam"), f"{self.prefix}-worker", self.prefix)

    def make(self, boot_file: str = SLEEP, **settings: str) -> InstancePool:
        environment = {"PREFIX": self.prefix, "AMI": "empty", "INSTANCE_TYPE": "t3.micro", **settings}
        return connect(load({f"SHOAL_{name}": value for name, value in environment.items()}), lambda: boot_file).pool

    def raw(self) -> list[dict[str, Any]]:
        filters = [{"Name": "tag:shoal:pool", "Values": [self.prefix]}]
        answer = client("ec2").describe_instances(Filters=filters)
        return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]


@pytest.fixture
def pools(embedded_cloud: None) -> Pools:
    return Pools()


def versions(pools: Pools) -> int:
    answer = client("ec2").describe_launch_template_versions(LaunchTemplateName=f"{pools.prefix}-worker")
    return len(answer["LaunchTemplateVersions"])


def test_a_template_gets_a_version_for_each_change_and_no_more(pools: Pools) -> None:
    for number in range(2):
        pool = pools.make()
        pool.launch(["a"], pool.token(1))
        assert versions(pools) == 1, number
    changed = pools.make(boot_file=SLEEP + "# other settings\n")
    changed.launch(["a"], changed.token(1))
    assert versions(pools) == 2
    back = pools.make()
    back.launch(["a"], back.token(1))
    assert versions(pools) == 2
    changed.terminate([one.id for one in changed.describe()])


def test_a_reload_that_changes_the_boot_file_makes_a_version(pools: Pools) -> None:
    boot_file = SLEEP
    settings = load({"SHOAL_PREFIX": pools.prefix, "SHOAL_AMI": "empty", "SHOAL_INSTANCE_TYPE": "t3.micro"})
    pool = connect(settings, lambda: boot_file).pool
    for text, known in ((SLEEP, 1), (SLEEP + "# other settings\n", 2), (SLEEP, 2)):
        boot_file = text
        pool.launch(["a"], pool.token(1))
        assert versions(pools) == known
    pool.terminate([one.id for one in pool.describe()])


def test_what_is_launched_has_the_templates_data(pools: Pools) -> None:
    pool = pools.make()
    [one] = pool.launch(["a"], pool.token(1))
    [raw] = pools.raw()
    assert raw["InstanceType"] == "t3.micro"
    assert raw["IamInstanceProfile"]["Arn"].endswith(f"{pools.prefix}-worker")
    behaviour = client("ec2").describe_instance_attribute(
        InstanceId=one.id, Attribute="instanceInitiatedShutdownBehavior"
    )
    assert behaviour["InstanceInitiatedShutdownBehavior"]["Value"] == "terminate"
    # What Auto Scaling asks EC2 about has the tags of the template alone.
    template = {"LaunchTemplateName": f"{pools.prefix}-worker"}
    [bare] = client("ec2").run_instances(LaunchTemplate=template, MinCount=1, MaxCount=1)["Instances"]
    assert {one.id for one in pool.describe()} == {one.id, bare["InstanceId"]}
    [version] = client("ec2").describe_launch_template_versions(**template)["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"]["MetadataOptions"]["HttpTokens"] == "required"
    assert version["LaunchTemplateData"]["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    pool.terminate([one.id, bare["InstanceId"]])


def test_a_template_that_was_deleted_is_made_again(pools: Pools) -> None:
    pool = pools.make()
    pool.launch(["a"], pool.token(1))
    client("ec2").delete_launch_template(LaunchTemplateName=f"{pools.prefix}-worker")

    def launched() -> bool:
        try:
            return bool(pool.launch(["b"], pool.token(1)))
        except Permanent:
            return False

    wait_for(launched, DEADLINE_SECONDS, "no launch after the template was deleted")
    pool.terminate([one.id for one in pool.describe()])


def test_another_controller_with_other_settings_repeats_a_launch(pools: Pools) -> None:
    """Pitfall: two controllers. The parameters differ, so EC2 refuses the repeated token: what it launched counts."""
    ours, theirs = pools.make(), pools.make(boot_file=SLEEP + "# other settings\n")
    token = ours.token(2)
    first = ours.launch(["a", "b"], token)
    assert {one.id for one in theirs.launch(["a", "b"], token)} == {one.id for one in first}
    assert len(ours.describe()) == 2
    ours.terminate([one.id for one in first])
    wait_for(lambda: not ours.describe(), DEADLINE_SECONDS, "they are still there")
    with pytest.raises(Retryable, match="launched before"):
        theirs.launch(["a", "b"], token)
    assert theirs.describe() == []


def test_spot_and_on_demand_are_mixed(pools: Pools) -> None:
    pool = pools.make(SPOT_SHARE="0.5")
    names = ["a", "b", "c", "d"]
    while names:
        launched = pool.launch(names, pool.token(len(names)))
        names = names[len(launched) :]
        pool.describe()
    markets = [one.get("InstanceLifecycle", "on demand") for one in pools.raw()]
    assert sorted(markets) == ["on demand", "on demand", "spot", "spot"]
    assert sorted(one.name for one in pool.describe()) == ["a", "b", "c", "d"]
    pool.terminate([one.id for one in pool.describe()])


def test_notices_of_ec2_are_read_from_the_metadata(pools: Pools) -> None:
    pool = pools.make(boot_file=f"#!/bin/sh\necho at $AWS_EC2_METADATA_SERVICE_ENDPOINT.\n{SLEEP}", SPOT_SHARE="1")
    [one] = pool.launch(["a"], pool.token(1))

    def endpoint() -> str:
        output = client("ec2").get_console_output(InstanceId=one.id).get("Output", "")
        return str(output.partition("at ")[2].partition(".\n")[0])

    wait_for(endpoint, DEADLINE_SECONDS, "the instance did not boot")
    metadata = InstanceMetadata(endpoint())
    assert metadata.notice() is None
    control = f"{os.environ['AWS_ENDPOINT_URL']}/_local_cloud/instances/{one.id}"
    assert send_signed("POST", f"{control}/rebalance", os.environ).ok
    assert str(metadata.notice()).startswith('rebalance recommendation: {"noticeTime"')
    assert send_signed("POST", f"{control}/interruption?notice_seconds=100", os.environ).ok
    assert str(metadata.notice()).startswith('spot interruption: {"action": "terminate"')
    pool.terminate([one.id])


def test_our_role_is_brought_up_to_date_and_the_operators_is_left_alone(embedded_cloud: None) -> None:
    iam, ours, theirs = client("iam"), f"t{uuid.uuid4().hex[:12]}", f"t{uuid.uuid4().hex[:12]}"
    create_role(iam, ours, "fish")
    statement = '{"Effect": "Deny", "Action": "sqs:*", "Resource": "*"}'
    old = f'{{"Version": "2012-10-17", "Statement": [{statement}]}}'
    iam.put_role_policy(RoleName=ours, PolicyName="shoal-worker", PolicyDocument=old)
    create_role(iam, ours, "fish")
    policy = iam.get_role_policy(RoleName=ours, PolicyName="shoal-worker")["PolicyDocument"]
    [table] = [one for one in policy["Statement"] if "dynamodb:PutItem" in one["Action"]]
    assert table["Resource"].endswith("table/fish-pool")
    assert table["Action"] == "dynamodb:PutItem"
    assert table["Condition"] == {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": ["i-*"]}}
    iam.create_role(RoleName=theirs, AssumeRolePolicyDocument="{}")
    iam.create_instance_profile(InstanceProfileName=theirs)
    iam.add_role_to_instance_profile(InstanceProfileName=theirs, RoleName=theirs)
    create_role(iam, theirs, "fish")
    assert iam.list_role_policies(RoleName=theirs)["PolicyNames"] == []


def test_an_instance_that_ec2_does_not_know_everywhere_yet_is_named_later(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pools.make()
    assert isinstance(pool, Ec2Pool)

    def too_early(**_: object) -> None:
        raise refusal("InvalidInstanceID.NotFound", "CreateTags")

    with monkeypatch.context() as patch:
        patch.setattr(pool._ec2, "create_tags", too_early)
        pool.launch(["a", "b"], pool.token(2))
        assert {one.name for one in pool.describe()} == {""}
    pool.describe()
    assert {one.name for one in pool.describe()} == {"a", "b"}
    pool.terminate([one.id for one in pool.describe()])


def test_a_mark_that_is_set_by_hand_is_a_mark(pools: Pools) -> None:
    pool = pools.make()
    [one] = pool.launch(["a"], pool.token(1))
    client("ec2").create_tags(Resources=[one.id], Tags=[{"Key": "shoal:drain", "Value": "please"}])
    [marked] = pool.describe()
    assert marked.drain_since == marked.launched_at
    pool.terminate([one.id])


def test_an_instance_that_cannot_be_named_is_launched_all_the_same(
    pools: Pools, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = pools.make()
    assert isinstance(pool, Ec2Pool)

    def throttled(**_: object) -> None:
        raise refusal("RequestLimitExceeded", "CreateTags")

    monkeypatch.setattr(pool._ec2, "create_tags", throttled)
    with caplog.at_level(logging.WARNING):
        assert len(pool.launch(["a", "b"], pool.token(2))) == 2
    assert "without its name" in caplog.text
    pool.terminate([one.id for one in pool.describe()])


# The group


def group_of(pools: Pools) -> dict[str, Any]:
    answer = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[f"{pools.prefix}-workers"])
    [group] = answer["AutoScalingGroups"]
    return dict(group)


def test_the_group_may_not_end_or_replace_anybody_by_itself(pools: Pools) -> None:
    """Pitfall: the group terminates a random instance. Without protection a lower desired capacity ends a worker."""
    pool = pools.make(ACTUATOR="autoscaling")
    pool.launch(["a", "b"], pool.token(2))
    wait_for(lambda: len(pool.describe()) == 2, DEADLINE_SECONDS, "they did not come")
    group = group_of(pools)
    assert all(one["ProtectedFromScaleIn"] for one in group["Instances"])
    assert [one["ProcessName"] for one in group["SuspendedProcesses"]] == ["AZRebalance"]
    one, other = pool.describe()
    pool.drain([one.id])
    assert group_of(pools)["DesiredCapacity"] == 1  # nobody comes for the one that leaves
    assert {left.id for left in pool.describe()} == {one.id, other.id}
    pool.terminate([one.id, other.id])
    wait_for(lambda: not pool.describe(), DEADLINE_SECONDS, "they are still there")
    assert group_of(pools)["DesiredCapacity"] == 0


def test_a_reload_changes_the_groups_maximum(pools: Pools) -> None:
    most = 1
    environment = {"PREFIX": pools.prefix, "AMI": "empty", "INSTANCE_TYPE": "t3.micro", "ACTUATOR": "autoscaling"}
    settings = load({f"SHOAL_{name}": value for name, value in environment.items()})
    pool = connect(settings, lambda: SLEEP, lambda: most).pool
    pool.launch(["a"], pool.token(1))
    with pytest.raises(CapacityUnavailable):
        pool.launch(["b"], pool.token(1))
    most = 2
    pool.launch(["b"], pool.token(1))
    assert group_of(pools)["MaxSize"] == 2
    wait_for(lambda: len(pool.describe()) == 2, DEADLINE_SECONDS, "they did not come")
    pool.terminate([one.id for one in pool.describe()])
    wait_for(lambda: not pool.describe(), DEADLINE_SECONDS, "they are still there")


def test_the_groups_maximum_is_a_second_gate(pools: Pools) -> None:
    pool = pools.make(ACTUATOR="autoscaling", MAX_INSTANCES="3")
    assert len(pool.launch(["a", "b"], pool.token(2))) == 2
    assert len(pool.launch(["c", "d"], pool.token(2))) == 1
    with pytest.raises(CapacityUnavailable, match="maximum of 3"):
        pool.launch(["d"], pool.token(1))
    wait_for(lambda: len(pool.describe()) == 3, DEADLINE_SECONDS, "they did not come")
    raised = pools.make(ACTUATOR="autoscaling", MAX_INSTANCES="4")
    assert len(raised.launch(["d"], raised.token(1))) == 1
    wait_for(lambda: len(pool.describe()) == 4, DEADLINE_SECONDS, "it did not come")
    pool.terminate([one.id for one in pool.describe()])


def test_a_late_repeat_of_a_launch_raises_nothing(pools: Pools) -> None:
    ours, theirs = pools.make(ACTUATOR="autoscaling"), pools.make(ACTUATOR="autoscaling")
    assert isinstance(ours, AutoScalingPool)
    token = ours.token(2)
    ours.launch(["a", "b"], token)
    theirs.launch(["a", "b"], token)
    ours.launch(["a", "b"], token)
    wait_for(lambda: len(ours.describe()) == 2, DEADLINE_SECONDS, "they did not come")
    assert group_of(pools)["DesiredCapacity"] == 2
    ours.terminate([one.id for one in ours.describe()])


def test_workers_of_a_group_are_not_asked_by_the_queue() -> None:
    with pytest.raises(SettingsError, match="SHOAL_DRAIN_BY"):
        load({"SHOAL_DRAIN_BY": "queue", "SHOAL_ACTUATOR": "autoscaling"})
    with pytest.raises(SettingsError, match="expected ec2 or autoscaling"):
        load({"SHOAL_ACTUATOR": "kubernetes"})


def test_a_token_asks_for_the_same_again_in_any_process(pools: Pools) -> None:
    here, there = pools.make(SUBNET="us-east-1a"), pools.make(SUBNET="us-east-1b")
    token = here.token(1)
    assert Ask.of(token) == Ask(InstanceOption("t3.micro", "us-east-1a", spot=False), 1)
    [one] = there.launch(["a"], token)
    assert [raw["Placement"]["AvailabilityZone"] for raw in pools.raw()] == ["us-east-1a"]
    assert [again.id for again in here.launch(["a"], token)] == [one.id]
    here.terminate([one.id])
