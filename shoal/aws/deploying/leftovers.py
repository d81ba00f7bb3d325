"""What an account still has of a Shoal: looked up by name and by tag, each kind by itself.

Resources that run make others (launch templates, queues of web processes, instances), so a deleted stack is no proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from shoal.aws.clients import client, our_errors
from shoal.aws.deploying.account import bake_bucket, code_bucket
from shoal.aws.deploying.deployment import TAG, password_name
from shoal.aws.ec2 import ALIVE, POOL_TAG
from shoal.errors import NotFound
from shoal.settings import Settings

Looks = Iterator[tuple[str, str]]


def left(settings: Settings) -> list[tuple[str, str]]:
    """All that is there: the kind and the name of each. Raises Permanent and Retryable where a look fails."""
    found: list[tuple[str, str]] = []
    for look in (_buckets, _queues, _tables, _machines, _networks, _balancers, _roles, _further):
        found += look(settings)
    return found


def instances(prefix: str) -> list[str]:
    """The ids of the instances of this Shoal, workers and page, that are not terminated."""
    ids: dict[str, None] = {}
    for tag in (POOL_TAG, TAG):
        filters = [
            {"Name": f"tag:{tag}", "Values": [prefix]},
            {"Name": "instance-state-name", "Values": list(ALIVE)},
        ]
        with our_errors("describe instances"):
            pages = client("ec2").get_paginator("describe_instances").paginate(Filters=filters)
            for page in pages:
                for reservation in page["Reservations"]:
                    ids |= {one["InstanceId"]: None for one in reservation["Instances"]}
    return list(ids)


def queues(prefix: str) -> list[str]:
    """The addresses of its queues, those of web processes included."""
    with our_errors("list queues"):
        pages = client("sqs").get_paginator("list_queues").paginate(QueueNamePrefix=f"{prefix}-")
        found = [url for page in pages for url in page.get("QueueUrls") or ()]
    # Of another Shoal whose prefix begins as this one it is none: its names have another word there.
    kinds = tuple(f"{prefix}-{kind}-queue" for kind in ("req", "resp", "dead", "term", "bulk", "lambda-failed"))
    return [url for url in found if url.rpartition("/")[2].startswith(kinds)]


def launch_template(settings: Settings) -> str:
    """The id of the launch template; empty when there is none."""
    filters = [{"Name": "launch-template-name", "Values": [settings.launch_template]}]
    with our_errors("launch templates"):
        templates = client("ec2").describe_launch_templates(Filters=filters)["LaunchTemplates"]
    named = (one for one in templates if one["LaunchTemplateName"] == settings.launch_template)
    return next((str(one["LaunchTemplateId"]) for one in named), "")


def _buckets(settings: Settings) -> Looks:
    s3 = client("s3")
    for name in (settings.in_bucket, settings.out_bucket, code_bucket(settings), bake_bucket(settings)):
        if _there(lambda name=name: s3.head_bucket(Bucket=name)):  # type: ignore[misc]
            yield "bucket", name


def _queues(settings: Settings) -> Looks:
    for url in queues(settings.prefix):
        yield "queue", url.rpartition("/")[2]


def _tables(settings: Settings) -> Looks:
    dynamodb = client("dynamodb")
    for name in (settings.pool_table, settings.images_table, settings.labels_table):
        if _there(lambda name=name: dynamodb.describe_table(TableName=name)):  # type: ignore[misc]
            yield "table", name


def _machines(settings: Settings) -> Looks:
    for one in instances(settings.prefix):
        yield "instance", one
    if launch_template(settings):
        yield "launch template", settings.launch_template
    with our_errors(f"group {settings.scaling_group}"):
        groups = client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[settings.scaling_group])
    for group in groups["AutoScalingGroups"]:
        yield "Auto Scaling group", group["AutoScalingGroupName"]


def _networks(settings: Settings) -> Looks:
    """What EC2 keeps besides instances: groups, disks, addresses, networks. EC2 lists all that carry the tag."""
    filters = [{"Name": "key", "Values": [TAG]}, {"Name": "value", "Values": [settings.prefix]}]
    with our_errors("tags"):
        pages = client("ec2").get_paginator("describe_tags").paginate(Filters=filters)
        tags = [one for page in pages for one in page["Tags"]]
    mine = (one for one in tags if (one["Key"], one["Value"]) == (TAG, settings.prefix))
    found = {one["ResourceId"]: one["ResourceType"] for one in mine}
    for name, kind in found.items():
        if kind not in ("instance", "launch-template", "image", "snapshot", "volume"):
            yield kind, name
    # The tags of a disk may be listed when it is gone.
    with our_errors("volumes"):
        tagged = [{"Name": f"tag:{TAG}", "Values": [settings.prefix]}]
        for disk in client("ec2").describe_volumes(Filters=tagged)["Volumes"]:
            yield "volume", disk["VolumeId"]
    with our_errors("security groups"):
        names = [f"{settings.prefix}-{kind}" for kind in ("worker", "web", "balancer")]
        groups = client("ec2").describe_security_groups(Filters=[{"Name": "group-name", "Values": names}])
    for group in groups["SecurityGroups"]:
        if group["GroupId"] not in found and group["GroupName"] in names:
            yield "security-group", group["GroupName"]


def _balancers(settings: Settings) -> Looks:
    """They cost by the hour. A certificate costs nothing and has no name."""
    elb, name = client("elbv2"), f"{settings.prefix}-web"
    looks: dict[str, Callable[[], Any]] = {
        "load balancer": lambda: elb.describe_load_balancers(Names=[name])["LoadBalancers"],
        "target group": lambda: elb.describe_target_groups(Names=[name])["TargetGroups"],
    }
    for kind, look in looks.items():
        with suppress(NotFound), our_errors(kind):
            if look():
                yield kind, name


def _roles(settings: Settings) -> Looks:
    iam = client("iam")
    for kind in ("worker", "web", "lambda", "lambda-tail"):
        name = f"{settings.prefix}-{kind}"
        if _there(lambda name=name: iam.get_role(RoleName=name)):  # type: ignore[misc]
            yield "role", name
        if _there(lambda name=name: iam.get_instance_profile(InstanceProfileName=name)):  # type: ignore[misc]
            yield "instance profile", name


def _further(settings: Settings) -> Looks:
    prefix = settings.prefix
    looks: dict[tuple[str, str], Callable[[], Any]] = {
        **{
            ("function", name): partial(client("lambda").get_function, FunctionName=name)
            for name in (settings.function, settings.tail_function)
        },
        ("password", password_name(settings)): lambda: client("ssm").get_parameter(Name=password_name(settings)),
    }
    for (kind, name), look in looks.items():
        if _there(look):
            yield kind, name
    with our_errors("logs"):
        groups = client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/lambda/{settings.function}")
    for group in groups["logGroups"]:
        yield "log group", group["logGroupName"]
    with our_errors("alarms"):
        alarms = client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{prefix}-")["MetricAlarms"]
        boards = client("cloudwatch").list_dashboards(DashboardNamePrefix=prefix)["DashboardEntries"]
    known = {f"{prefix}-{name}" for name in ("photos-wait-long", "dead-letters-stay", "no-controller-tick")}
    for alarm in alarms:
        if alarm["AlarmName"] in {*known, f"{prefix}-workers-cost-much"}:
            yield "alarm", alarm["AlarmName"]
    for board in boards:
        if board["DashboardName"] == prefix:
            yield "dashboard", prefix


def _there(call: Callable[[], Any]) -> bool:
    """Whether what is asked for exists. Raises Permanent and Retryable."""
    try:
        with our_errors("look"):
            call()
    except NotFound:
        return False
    return True
