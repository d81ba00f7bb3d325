"""`ami/stack.yaml` agrees with the policies, the settings and the code, and policy linters find nothing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from shoal.aws import dynamodb, sqs
from shoal.aws.deploying.baking import DISK_GB
from shoal.aws.label_tables import IMAGE, LABEL, RANK
from shoal.aws.template import STACK_DESCRIPTION
from shoal.deployment.choices import Choices, recalled
from shoal.deployment.template_file import MOST_BYTES, StackTemplate, read
from shoal.deployment.template_file import TEMPLATE as TEMPLATE_FILE
from shoal.messages import MAX_REQUEST_BYTES
from shoal.ports import LAST_NET_DELIVERIES
from shoal.settings import Settings

AMI = Path(__file__).parent.parent / "ami"
TEMPLATE = read()
RESOURCES = TEMPLATE.body["Resources"]
POLICIES = {
    "shoal-worker": ("WorkerRole", "worker-policy.json"),
    "shoal-web": ("WebRole", "web-policy.json"),
    "shoal-controller": ("WebRole", "controller-policy.json"),
    "shoal-lambda": ("FunctionRole", "lambda-policy.json"),
    "shoal-tail": ("TailRole", "tail-policy.json"),
}


def properties(resource: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[resource]["Properties"]
    return found


def policies(role: str) -> dict[str, Any]:
    return {one["PolicyName"]: one["PolicyDocument"] for one in properties(role)["Policies"]}


def plain(value: Any) -> Any:
    """A policy with what CloudFormation fills in written as in the policy files."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return plain(value["Fn::Sub"]) if "Fn::Sub" in value else {key: plain(one) for key, one in value.items()}
    names = {"${Prefix}": "@PREFIX@", "${AWS::Partition}": "aws", "@PARTITION@": "aws", "${AWS::Region}": "*"}
    text = str(value)
    for name, instead in {**names, "${AWS::AccountId}": "*"}.items():
        text = text.replace(name, instead)
    return text


@pytest.mark.parametrize("name", POLICIES)
def test_a_role_may_do_what_its_policy_file_allows_and_no_more(name: str) -> None:
    role, file = POLICIES[name]

    assert plain(policies(role)[name]) == plain(json.loads((AMI / file).read_text()))


def test_the_template_can_be_sent_in_a_call() -> None:
    assert len(TEMPLATE.text.encode()) <= MOST_BYTES


def test_what_is_sent_says_what_the_file_says() -> None:
    as_it_is = re.sub(r"^ *# .*\n", "", TEMPLATE_FILE.read_text(), flags=re.MULTILINE)
    assert TEMPLATE.body == StackTemplate(as_it_is).body
    assert len(TEMPLATE.text) < 0.95 * len(as_it_is)


def written() -> dict[str, str]:
    """All policies of the template and of the files, as JSON, by their names."""
    found = {
        f"{role}/{name}": json.dumps(plain(document))
        for role in ("WorkerRole", "WebRole", "FunctionRole", "TailRole")
        for name, document in policies(role).items()
    }
    found |= {file.name: json.dumps(plain(json.loads(file.read_text()))) for file in AMI.glob("*-policy.json")}
    return {name: text.replace("@PREFIX@", "shoal") for name, text in found.items()}


# In a process of its own: it leaves files open, and imports what setuptools has deprecated.
LINT = """
import json, sys
from parliament import analyze_policy_string

for name, text in json.loads(sys.argv[1]).items():
    for one in analyze_policy_string(text).findings:
        print(json.dumps([name, one.issue, one.detail]))
"""


def is_in_two_statements(issue: str, detail: Any) -> bool:
    """These calls need several kinds of resources; parliament misses those that the next statement allows."""
    actions = {one["action"] for one in detail} if isinstance(detail, list) else set()
    return issue == "RESOURCE_MISMATCH" and actions in ({"ec2:RunInstances"}, {"ec2:CreateImage"})


def is_newer_than_the_linter(issue: str, detail: Any) -> bool:
    """AWS has the key since October 2025: who calls a function by its URL needs both permissions."""
    return issue == "UNKNOWN_CONDITION_FOR_ACTION" and "lambda:InvokedViaFunctionUrl" in str(detail)


def test_a_policy_linter_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LINT, json.dumps(written())], capture_output=True, text=True, check=True
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]

    known = (is_in_two_statements, is_newer_than_the_linter)
    assert [one for one in found if not any(excuse(*one[1:]) for excuse in known)] == []


def test_the_defaults_are_those_of_the_settings() -> None:
    settings, defaults = Settings(), TEMPLATE.parameters

    assert {name: defaults[name] for name in ("VisibilitySeconds", "MaxDeliveries", "MaxWorkers", "Actuator")} == {
        "VisibilitySeconds": str(settings.visibility_seconds),
        "MaxDeliveries": str(settings.max_deliveries),
        "MaxWorkers": str(settings.max_instances),
        "Actuator": settings.actuator,
    }
    assert (defaults["LastNetDeliveries"], defaults["MaxRequestBytes"]) == (
        str(LAST_NET_DELIVERIES),
        str(MAX_REQUEST_BYTES),
    )
    assert (defaults["LambdaPrefix"], defaults["LambdaMemory"], defaults["LambdaSeconds"]) == (
        settings.lambda_prefix,
        str(settings.lambda_memory_mb),
        str(settings.lambda_seconds),
    )


def test_a_workers_disk_holds_the_image_that_is_baked() -> None:
    assert int(TEMPLATE.parameters["WorkerDiskGigabytes"] or 0) >= DISK_GB


def test_names_are_those_that_the_code_looks_for() -> None:
    settings = Settings(prefix="pre")
    named = {
        ("InBucket", "BucketName"): settings.in_bucket,
        ("OutBucket", "BucketName"): settings.out_bucket,
        ("RequestQueue", "QueueName"): settings.req_queue,
        ("ResponseQueue", "QueueName"): settings.resp_queue,
        ("DeadQueue", "QueueName"): settings.dead_queue,
        ("TerminateQueue", "QueueName"): settings.term_queue,
        ("BulkQueue", "QueueName"): settings.bulk_queue,
        ("FailedEventsQueue", "QueueName"): settings.function_failed_queue,
        ("PoolTable", "TableName"): settings.pool_table,
        ("ImagesTable", "TableName"): settings.images_table,
        ("LabelsTable", "TableName"): settings.labels_table,
        ("WorkerRole", "RoleName"): settings.role,
        ("WorkerProfile", "InstanceProfileName"): settings.role,
        ("WorkerTemplate", "LaunchTemplateName"): settings.launch_template,
        ("WorkerScalingGroup", "AutoScalingGroupName"): settings.scaling_group,
        ("Function", "FunctionName"): settings.function,
    }
    assert {key: plain(properties(key[0])[key[1]]).replace("@PREFIX@", "pre") for key in named} == named
    assert properties("PoolTable")["KeySchema"][0]["AttributeName"] == dynamodb.KEY
    assert properties("PoolTable")["TimeToLiveSpecification"]["AttributeName"] == dynamodb.EXPIRES
    keys = [one["AttributeName"] for table in ("ImagesTable", "LabelsTable") for one in properties(table)["KeySchema"]]
    assert keys == [IMAGE, LABEL, RANK]
    assert {properties(one)["MessageRetentionPeriod"] for one in RESOURCES if one.endswith("Queue")} == {
        sqs.RETENTION_SECONDS
    }


def made(**chosen: str) -> set[str]:
    return set(TEMPLATE.made(chosen))


PAGE = {"WebRole", "WebProfile", "WebGroup", "WebInstance", "NoControllerTick"}


@pytest.mark.parametrize(
    ("chosen", "more"),
    [
        ({"WebTier": "thrifty"}, PAGE | {"WebAddress"}),
        (
            {"WebTier": "thrifty", "Domain": "a.example", "HostedZoneId": "Z"},
            PAGE | {"WebAddress", "NameOfThePage"},
        ),
        (
            {"WebTier": "balancer", "Domain": "a.example"},
            PAGE | {"Balancer", "BalancerGroup", "BalancerTarget", "BalancerHttp", "BalancerHttps", "Certificate"},
        ),
        ({"Actuator": "autoscaling"}, set()),
        ({"Actuator": "autoscaling", "WorkerImage": "ami-1"}, {"WorkerScalingGroup"}),
        ({"AlarmEmail": "a@a.example", "MonthlyBudget": "5"}, {"Alarms", "WorkersCostMuch", "Budget"}),
    ],
)
def test_parameters_choose_the_resources(chosen: Mapping[str, str], more: set[str]) -> None:
    assert made(**chosen) - made() == more


def test_buckets_are_private_encrypted_and_reached_over_tls_alone() -> None:
    buckets = [name for name, one in RESOURCES.items() if one["Type"] == "AWS::S3::Bucket"]
    policed = {
        properties(name)["Bucket"]["Ref"] for name, one in RESOURCES.items() if one["Type"] == "AWS::S3::BucketPolicy"
    }

    assert policed == set(buckets) == {"InBucket", "OutBucket", "CodeBucket"}
    for name in buckets:
        assert set(properties(name)["PublicAccessBlockConfiguration"].values()) == {True}
        assert properties(name)["BucketEncryption"]
        [statement] = properties(f"{name}OverTlsAlone")["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert [RESOURCES[name]["DeletionPolicy"] for name in buckets] == ["RetainExceptOnCreate"] * 2 + ["Delete"]


def test_instances_have_encrypted_disks_and_tell_nothing_without_a_token() -> None:
    worker = properties("WorkerTemplate")["LaunchTemplateData"]
    for machine in (worker, properties("WebInstance")):
        assert machine["MetadataOptions"]["HttpTokens"] == "required"
        assert machine["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
        assert [disk["Ebs"]["Encrypted"] for disk in machine["BlockDeviceMappings"]] == [True]
    assert {one["ResourceType"] for one in worker["TagSpecifications"]} == {"instance", "volume"}
    assert properties("WorkerTemplate")["VersionDescription"] == STACK_DESCRIPTION


@pytest.mark.parametrize(
    ("earlier", "given", "expected"),
    [
        (
            Choices(domain="a.example", zone="Z1"),
            {"thrifty": True},
            Choices(domain="a.example", zone="Z1", thrifty=True),
        ),
        (Choices(domain="a.example", zone="Z1"), {"domain": "b.example"}, Choices(domain="b.example")),
        (Choices(domain="a.example", thrifty=True), {"domain": ""}, Choices()),
        (Choices(domain="a.example", thrifty=True), {"page": False}, Choices(page=False)),
        (Choices(vpc="vpc-1", subnets=("a", "b")), {"private": True}, Choices(private=True)),
        (Choices(private=True), {"vpc": "vpc-1", "subnets": ("a",)}, Choices(vpc="vpc-1", subnets=("a",))),
        (Choices(email="a@b.example", budget=20.0), {"email": ""}, Choices()),
        (Choices(keep_days=3, visitors="203.0.113.0/24"), {}, Choices(keep_days=3, visitors="203.0.113.0/24")),
    ],
)
def test_choices_hold_again_where_they_fit_to_what_is_given(
    earlier: Choices, given: dict[str, Any], expected: Choices
) -> None:
    now = Choices(**given)

    assert now.after(recalled(earlier.text()), given) == expected
    expected.check()


@pytest.mark.parametrize("text", ["", "{}", "[1]", "not JSON", '{"unknown": 1, "budget": "much"}'])
def test_choices_that_cannot_be_read_are_left_out(text: str) -> None:
    assert recalled(text) == Choices()
