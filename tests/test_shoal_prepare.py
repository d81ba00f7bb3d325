"""`shoal prepare` ends what an interrupted one began, and says which bucket is not this Shoal's."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import botocore.auth
import botocore.waiter
import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.client import BaseClient
from botocore.exceptions import ClientError

from shoal.aws import connect, prepare, prepare_function, remove_function
from shoal.aws.clients import client
from shoal.aws.iam import create_role, policy_document, trust
from shoal.aws.s3 import create_bucket
from shoal.buckets.deleted_batches import FOLDERS_BY_BATCH
from shoal.deployment.template_file import read
from shoal.errors import Permanent, Retryable
from shoal.folders import folder
from shoal.messages import new_batch
from shoal.settings import Settings, load
from shoal_cli import doctor
from tests.aws_session import forget_session

CHANGES = ("Create", "Put", "Set", "Add", "Update")
EVERYTHING = {
    "SHOAL_SPOT_SHARE": "0.5",
    "SHOAL_ACTUATOR": "autoscaling",
    "SHOAL_INTAKE_PREFIX": "incoming/",
    "SHOAL_KEEP_DAYS": "30",
}


def settings() -> Settings:
    return load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}", **EVERYTHING})


class Calls:
    """Ends the program before a further call that changes something, as Ctrl-C or a kill would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        self.changes: list[str] = []
        self.most = 0
        plain = BaseClient._make_api_call

        def counted(own: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
            if operation.startswith(CHANGES):
                if self.most and len(self.changes) >= self.most:
                    raise KeyboardInterrupt
                self.changes.append(operation)
            self.made.append(operation)
            return plain(own, operation, parameters)

        monkeypatch.setattr(BaseClient, "_make_api_call", counted)

    def until(self, most: int) -> None:
        """Allow so many changes from now on; 0 allows all."""
        self.made, self.changes, self.most = [], [], most


# What a call needs, where it is not named like the call.
NEEDED = {
    "HeadBucket": "ListBucket",
    "GetBucketNotificationConfiguration": "GetBucketNotification",
    "PutBucketNotificationConfiguration": "PutBucketNotification",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketCors": "GetBucketCORS",
    "PutBucketCors": "PutBucketCORS",
    "GetBucketLifecycleConfiguration": "GetLifecycleConfiguration",
    "PutBucketLifecycleConfiguration": "PutLifecycleConfiguration",
}


def made(chosen: Settings) -> dict[str, Any]:
    """What there is, with the prefix left out."""
    iam, s3, sqs, dynamodb = client("iam"), client("s3"), client("sqs"), client("dynamodb")
    queues = {}
    for name in (chosen.req_queue, chosen.resp_queue, chosen.dead_queue, chosen.term_queue, chosen.bulk_queue):
        url = sqs.get_queue_url(QueueName=name)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        queues[name] = {key: value for key, value in found.items() if "Timestamp" not in key}
    [role] = iam.get_instance_profile(InstanceProfileName=chosen.role)["InstanceProfile"]["Roles"]
    found = {
        "queues": queues,
        "role": role["RoleName"],
        "trust": role["AssumeRolePolicyDocument"],
        "policy": iam.get_role_policy(RoleName=chosen.role, PolicyName="shoal-worker")["PolicyDocument"],
        "public": [
            s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
            for bucket in (chosen.in_bucket, chosen.out_bucket)
        ],
        "cors": s3.get_bucket_cors(Bucket=chosen.in_bucket)["CORSRules"],
        "announced": [
            rule["Events"]
            for rule in s3.get_bucket_notification_configuration(Bucket=chosen.in_bucket)["QueueConfigurations"]
        ],
        "kept": [
            s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
            for bucket in (chosen.in_bucket, chosen.out_bucket)
        ],
        "expires": dynamodb.describe_time_to_live(TableName=chosen.pool_table)["TimeToLiveDescription"],
    }
    plain: dict[str, Any] = json.loads(json.dumps(found).replace(chosen.prefix, "PREFIX"))
    return plain


def test_the_buckets_delete_what_belongs_to_batches_and_nothing_else(embedded_cloud: None) -> None:
    chosen = settings()
    prepare(chosen)
    s3 = client("s3")
    rules = s3.get_bucket_lifecycle_configuration(Bucket=chosen.out_bucket)["Rules"]
    prefixes = [rule["Filter"]["Prefix"] for rule in rules]
    assert {rule["Expiration"]["Days"] for rule in rules} == {30}
    for key in (new_batch(time.time()), *(f"{one}/{new_batch(time.time())}/x" for one in FOLDERS_BY_BATCH)):
        assert any(key.startswith(prefix) for prefix in prefixes), key
    for key in ("accounts/users/ada", "accounts/keys/1", "foreign/1", f"deleted/{new_batch(time.time())}"):
        assert not any(key.startswith(prefix) for prefix in prefixes), key
    template = read().body["Resources"]["OutBucket"]["Properties"]["LifecycleConfiguration"]
    assert all(f"'Prefix': '{prefix}'" in str(template) for prefix in prefixes)

    prepare(replace(chosen, keep_days=0.0))

    with pytest.raises(ClientError):
        s3.get_bucket_lifecycle_configuration(Bucket=chosen.out_bucket)


def test_each_step_may_be_interrupted(embedded_cloud: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = settings()
    calls = Calls(monkeypatch)
    prepare(whole)
    steps, changes = set(calls.made), list(calls.changes)
    calls.until(0)
    expected = made(whole)
    assert changes.count("CreateServiceLinkedRole") == 2
    told = set(re.findall(r"`(\w+)`", (folder("ami") / "README.md").read_text().partition("needs more than they")[2]))
    assert {NEEDED.get(name, name) for name in steps} <= told  # the rights of the person who runs it
    # Once each kind of call that changes something.
    for number in sorted(changes.index(name) + 1 for name in set(changes)):
        chosen = settings()
        calls.until(number)
        with suppress(KeyboardInterrupt):
            prepare(chosen)
        calls.until(0)
        prepare(chosen)
        assert made(chosen) == expected, f"after {changes[:number]}"


def test_each_step_for_the_function_may_be_interrupted(embedded_cloud: None, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = replace(load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"}), emulated=True)
    prepare(chosen)
    # boto3 looks once a second whether a function is ready, and here it is at once.
    monkeypatch.setattr(botocore.waiter, "time", SimpleNamespace(sleep=lambda _: time.sleep(0.02)))
    calls = Calls(monkeypatch)
    for most in range(1, 40):  # each time a step further
        calls.until(most)
        with suppress(KeyboardInterrupt):
            prepare_function(chosen)
            break
    assert most >= 9
    calls.until(0)
    functions, name = client("lambda"), chosen.function
    arn = functions.get_function(FunctionName=name)["Configuration"]["FunctionArn"]
    assert functions.get_function_event_invoke_config(FunctionName=name)["MaximumRetryAttempts"] == 2
    assert client("iam").list_role_policies(RoleName=name)["PolicyNames"] == [name]
    rules = client("s3").get_bucket_notification_configuration(Bucket=chosen.in_bucket)
    assert [one["LambdaFunctionArn"] for one in rules["LambdaFunctionConfigurations"]] == [arn]
    assert remove_function(chosen) == 0


def test_a_role_that_stands_in_the_way_is_left_alone(embedded_cloud: None) -> None:
    name = f"t{uuid.uuid4().hex[:12]}"
    client("iam").create_role(RoleName=name, AssumeRolePolicyDocument="{}", Description="somebody's")
    with pytest.raises(Permanent, match="that Shoal has not made"):
        create_role(client("iam"), name, "fish")
    assert client("iam").list_role_policies(RoleName=name)["PolicyNames"] == []


@pytest.mark.parametrize("file", sorted(folder("ami").glob("*-policy.json")), ids=lambda file: file.name)
@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov"])
def test_a_policy_names_the_partition(file: Any, partition: str) -> None:
    document = policy_document(file, "fish", partition)
    named = {word.split(":")[1] for word in document.split('"') if word.startswith("arn:")}
    assert named == {partition}
    assert "@" not in document


def test_the_services_of_china_have_names_of_their_own() -> None:
    assert "ec2.amazonaws.com.cn" in trust("ec2", "aws-cn")
    assert "lambda.amazonaws.com" in trust("lambda", "aws-cn")
    assert "lambda.amazonaws.com.cn" not in trust("lambda", "aws-cn")
    assert "ec2.amazonaws.com" in trust("ec2", "aws-us-gov")


def test_the_doctor_looks_at_all_that_prepare_makes_and_at_the_image(embedded_cloud: None) -> None:
    chosen = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}", "SHOAL_AMI": "empty"})

    def bad() -> dict[str, str]:
        return {found.what: f"{found.told} → {found.fix}" for found in doctor._cloud(chosen) if not found.good}

    prepare(chosen)
    assert bad().keys() == {"page"}
    client("sqs").delete_queue(QueueUrl=client("sqs").get_queue_url(QueueName=chosen.term_queue)["QueueUrl"])
    client("dynamodb").delete_table(TableName=chosen.pool_table)
    client("iam").remove_role_from_instance_profile(InstanceProfileName=chosen.role, RoleName=chosen.role)
    client("s3").delete_bucket(Bucket=chosen.out_bucket)
    chosen = replace(chosen, ami="of-nobody", instance_type="t3.micro,t2.micro")
    assert bad().keys() == {
        "page",
        f"queue {chosen.term_queue}",
        f"table {chosen.pool_table}",
        f"role {chosen.role}",
        f"bucket {chosen.out_bucket}",
        "image of-nobody",
        "instance types",
    }
    assert bad()["instance types"].endswith(". Set SHOAL_INSTANCE_TYPE, or SHOAL_DRAIN_BY=queue → ")
    chosen = replace(chosen, instance_type="t3.micro,t3.gigantic")
    assert bad()["instance types"] == "EC2 knows no instance type t3.gigantic here: set SHOAL_INSTANCE_TYPE → "


def test_the_doctor_does_not_blame_credentials_that_may_not_look() -> None:
    found = doctor._allowed(doctor.Finding("role", False, "instance profile: AccessDenied: not authorized"))
    assert (found.good, found.note) == (True, True)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_wrong_clock_is_named_by_every_service(
    embedded_cloud: None, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    chosen = load({"SHOAL_PREFIX": f"t{uuid.uuid4().hex[:12]}"})
    prepare(chosen)
    cloud = connect(chosen)
    plain: Callable[..., datetime] = botocore.auth.get_current_datetime

    def wrong(remove_tzinfo: bool = True) -> datetime:
        return plain(remove_tzinfo) + timedelta(hours=hours)

    monkeypatch.setattr(botocore.auth, "get_current_datetime", wrong)
    looks: list[Callable[[], object]] = [
        lambda: list(cloud.inputs.list("")),
        lambda: cloud.requests.depth(),
        lambda: cloud.register.workers(),
        lambda: cloud.pool.describe(),
    ]
    for look in looks:
        with pytest.raises((Retryable, Permanent), match="the clock of this machine is wrong"):
            look()


# What S3 answers of buckets that are somebody else's


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    forget_session(monkeypatch)
    return client("s3")


def answer(s3: Any, status: int, **headers: str) -> None:
    def send(request: AWSRequest, **_: object) -> AWSResponse:
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        return AWSResponse(request.url, status, told, Body())

    s3.meta.events.register("before-send.s3.HeadBucket", send)


class Body:
    """The empty body of an answer to HEAD."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield b""


def test_a_bucket_of_another_account_is_named(s3: Any) -> None:
    answer(s3, 403)
    with pytest.raises(Permanent, match="another AWS account's, then set SHOAL_PREFIX"):
        create_bucket(s3, "photos")


def test_a_bucket_in_another_region_is_named(s3: Any) -> None:
    answer(s3, 200, x_amz_bucket_region="us-west-2")
    with pytest.raises(Permanent, match="photos is in us-west-2, and Shoal in eu-west-1: set AWS_DEFAULT_REGION"):
        create_bucket(s3, "photos")
