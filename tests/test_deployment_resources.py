"""Each resource of `ami/stack.yaml`, deployed on emulators, beside what `shoal prepare` and the controller make."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from shoal import aws, settings
from shoal.aws.connect import connect_pool
from shoal.aws.functions import prepare_function
from shoal.deployment import template_file
from shoal.errors import Permanent
from tests.deployment_fixtures import Deployer, EmulatedAccount, ministack_account, moto_account, queue

Look = Callable[[EmulatedAccount, str], Any]
IMAGE = "000000000000.dkr.ecr.us-east-1.amazonaws.com/shoal-lambda:1"
CHOSEN = {
    "SHOAL_LAMBDA_IMAGE": IMAGE,
    "SHOAL_LAMBDA_MEMORY_MB": "2048",
    "SHOAL_INTAKE_PREFIX": "incoming/",
    "SHOAL_VISIBILITY_SECONDS": "45",
    "SHOAL_MAX_DELIVERIES": "7",
    "SHOAL_MODEL": "mobilenet_v2",
    "SHOAL_PRECISION": "float32",
    "SHOAL_TAILS": "mobilenet_v2.block_12_add",
}


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAccount]:
    with ministack_account(tmp_path_factory.mktemp("ministack")) as account:
        yield account


def plain(value: Any, prefix: str) -> Any:
    """The value without the prefix, and without ids that differ from one thing to the next."""
    return json.loads(json.dumps(value, default=str).replace(prefix, "@PREFIX@"))


def of_queue(kind: str) -> Look:
    return lambda account, prefix: queue(account, f"{prefix}-{kind}-queue")


def announcements(account: EmulatedAccount, prefix: str) -> Any:
    """Who may send to the request queue."""
    sqs = account.client("sqs")
    url = sqs.get_queue_url(QueueName=f"{prefix}-req-queue")["QueueUrl"]
    policy = json.loads(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]["Policy"])
    return [{key: value for key, value in one.items() if key != "Sid"} for one in policy["Statement"]]


# Encryption, ownership and lifecycle are in the template alone: no emulator applies them, and S3 has the first two.
def bucket(account: EmulatedAccount, prefix: str, kind: str) -> Any:
    s3, name = account.client("s3"), f"{prefix}-{kind}-bucket"
    found = s3.get_bucket_notification_configuration(Bucket=name)
    events = [
        (one.get("QueueArn") or one["LambdaFunctionArn"], one["Events"], rules(one))
        for told in ("QueueConfigurations", "LambdaFunctionConfigurations")
        for one in found.get(told, ())
    ]
    forms = s3.get_bucket_cors(Bucket=name)["CORSRules"] if kind == "in" else None
    return s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"], forms, sorted(events)


def rules(event: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["Name"].lower(), one["Value"]) for one in event["Filter"]["Key"]["FilterRules"]]


def of_bucket(kind: str) -> Look:
    return lambda account, prefix: bucket(account, prefix, kind)


# That its items expire is in the template alone: no emulator's CloudFormation sets it.
def of_table(kind: str) -> Look:
    def look(account: EmulatedAccount, prefix: str) -> Any:
        found = account.call("dynamodb", "describe_table", TableName=f"{prefix}-{kind}")["Table"]
        attributes = sorted(found["AttributeDefinitions"], key=lambda one: str(one["AttributeName"]))
        return found["KeySchema"], attributes, found["BillingModeSummary"]["BillingMode"]

    return look


def of_role(kind: str) -> Look:
    def look(account: EmulatedAccount, prefix: str) -> Any:
        iam, name = account.client("iam"), f"{prefix}-{kind}"
        [policy] = iam.list_role_policies(RoleName=name)["PolicyNames"]
        allowed = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
        return allowed, iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]

    return look


def profile(account: EmulatedAccount, prefix: str) -> Any:
    found = account.call("iam", "get_instance_profile", InstanceProfileName=f"{prefix}-worker")["InstanceProfile"]
    return [one["RoleName"] for one in found["Roles"]]


def of_function(kind: str) -> Look:
    """What it is, and the settings that it comes to. Its concurrency is in the template: ministack passes over it."""

    def look(account: EmulatedAccount, prefix: str) -> Any:
        found = account.client("lambda").get_function(FunctionName=f"{prefix}-{kind}")
        about = found["Configuration"]
        kept = {key: about[key] for key in ("PackageType", "MemorySize", "Timeout", "Role")}
        understood = settings.load(about["Environment"]["Variables"]).for_worker()
        return kept, found["Code"].get("ImageUri"), understood

    return look


def address(account: EmulatedAccount, prefix: str) -> Any:
    return account.call("lambda", "get_function_url_config", FunctionName=f"{prefix}-lambda-tail")["AuthType"]


def failures(account: EmulatedAccount, prefix: str) -> Any:
    listed = account.call("lambda", "list_function_event_invoke_configs", FunctionName=f"{prefix}-lambda")
    [found] = listed["FunctionEventInvokeConfigs"]
    return found["MaximumRetryAttempts"], found["DestinationConfig"]["OnFailure"]


def invocation(account: EmulatedAccount, prefix: str) -> Any:
    found = account.call("lambda", "get_policy", FunctionName=f"{prefix}-lambda")["Policy"]
    [statement] = json.loads(found)["Statement"]
    return {key: statement[key] for key in ("Action", "Principal", "Condition")}


LIKE_PREPARE: dict[str, Look] = {
    "InBucket": of_bucket("in"),
    "OutBucket": of_bucket("out"),
    "RequestQueue": of_queue("req"),
    "ResponseQueue": of_queue("resp"),
    "DeadQueue": of_queue("dead"),
    "TerminateQueue": of_queue("term"),
    "BulkQueue": of_queue("bulk"),
    "FailedEventsQueue": of_queue("lambda-failed"),
    "RequestQueuePolicy": announcements,
    "PoolTable": of_table("pool"),
    "ImagesTable": of_table("images"),
    "LabelsTable": of_table("labels"),
    "WorkerRole": of_role("worker"),
    "WorkerProfile": profile,
    "FunctionRole": of_role("lambda"),
    "Function": of_function("lambda"),
    "FunctionFailures": failures,
    "TailRole": of_role("lambda-tail"),
    "TailFunction": of_function("lambda-tail"),
    "TailAddress": address,
    "FunctionInvocation": invocation,
}
LIKE_THE_CONTROLLER = {"WorkerTemplate", "WorkerScalingGroup"}
# Nothing else makes these: test_deployment_template.py says what they must be, test_deployment.py deploys them.
OF_THE_STACK_ALONE = {
    "the private network": {
        *("Vpc", "InternetGateway", "InternetAttachment", "PublicSubnetA", "PublicSubnetB", "WorkerSubnetA"),
        *("WorkerSubnetB", "PublicRoutes", "WayToTheInternet", "WorkerRoutes", "PublicRoutesA", "PublicRoutesB"),
        *("WorkerRoutesA", "WorkerRoutesB", "EndpointGroup", "S3Endpoint", "DynamoDbEndpoint", "SqsEndpoint"),
    },
    "who reaches what": {"WorkerGroup", "WebGroup", "BalancerGroup"},
    "TLS alone": {"InBucketOverTlsAlone", "OutBucketOverTlsAlone", "CodeBucketOverTlsAlone"},
    "the page": {
        *("CodeBucket", "WebRole", "WebProfile", "WebInstance", "WebAddress", "NameOfThePage", "Certificate"),
        *("Balancer", "BalancerTarget", "BalancerHttps", "BalancerHttp"),
    },
    "a log that ends": {"FunctionLog", "TailLog"},
    "who is told": {
        *("Alarms", "PhotosWaitLong", "DeadLettersStay", "NoControllerTick", "WorkersCostMuch", "Dashboard", "Budget"),
    },
}


def test_each_resource_is_compared_or_has_its_reason() -> None:
    alone = set().union(*OF_THE_STACK_ALONE.values())
    assert LIKE_PREPARE.keys() | LIKE_THE_CONTROLLER | alone == template_file.read().body["Resources"].keys()


def test_the_stack_makes_what_prepare_makes(ministack: EmulatedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Deployer(ministack, "fish", monkeypatch)
    for name, value in CHOSEN.items():
        monkeypatch.setenv(name, value)
    assert "is complete." in person.deploy("--no-page", "--tails")
    made = replace(settings.load(), prefix="made")
    aws.prepare(made)
    prepare_function(made)
    aws.prepare_tail_function(made)

    for name, look in LIKE_PREPARE.items():
        assert plain(look(ministack, "fish"), "fish") == plain(look(ministack, "made"), "made"), name
    assert "Nothing tagged shoal:fish is left." in person.destroy()


def test_the_controllers_template_stands_on_the_stacks(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version on top of another has what it names in the place of that one's: so all that it names is compared."""
    with moto_account(tmp_path_factory.mktemp("moto")) as account:
        person = Deployer(account, "fish", monkeypatch)
        monkeypatch.setenv("SHOAL_AMI", "ami-12345678")
        person.deploy("--no-page")
        chosen = settings.load()
        connect_pool(chosen, lambda: "#!/bin/sh", lambda: 15).launch(["worker"], "t" * 32)
        versions = account.call("ec2", "describe_launch_template_versions", LaunchTemplateName="fish-worker")
        stacks, ours = (
            one["LaunchTemplateData"]
            for one in sorted(versions["LaunchTemplateVersions"], key=lambda one: int(one["VersionNumber"]))
        )

        assert {key for key in ours if stacks.get(key) != ours[key]} == {"UserData"}
        assert stacks.keys() - ours.keys() == {"BlockDeviceMappings", "SecurityGroupIds"}
        [reservation] = account.call("ec2", "describe_instances")["Reservations"]
        [instance] = reservation["Instances"]
        tags = {one["Key"]: one["Value"] for one in instance["Tags"]}
        assert (tags["shoal"], tags["shoal:pool"], tags["Name"]) == ("fish", "fish", "worker")
        person.destroy()


def test_the_controllers_group_is_the_stacks(ministack: EmulatedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Deployer(ministack, "pond", monkeypatch)
    monkeypatch.setenv("SHOAL_ACTUATOR", "autoscaling")
    monkeypatch.setenv("SHOAL_AMI", "ami-12345678")
    person.deploy("--no-page")
    made = replace(settings.load(), prefix="made")
    with suppress(Permanent):  # ministack's groups launch nothing
        connect_pool(made, lambda: "#!/bin/sh", lambda: 15).launch(["worker"], "t" * 32)
    groups = account_groups(ministack)
    person.destroy()
    assert groups["pond-workers"] == groups["made-workers"]


def account_groups(account: EmulatedAccount) -> dict[str, Any]:
    kept = ("MinSize", "MaxSize", "NewInstancesProtectedFromScaleIn")
    found = account.call("autoscaling", "describe_auto_scaling_groups")["AutoScalingGroups"]
    return {one["AutoScalingGroupName"]: {key: one[key] for key in kept} for one in found}
