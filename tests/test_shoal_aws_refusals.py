"""What AWS may answer, and an emulator does not."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.parsers import ResponseParserError

from shoal.aws import region, signed, sqs
from shoal.aws.autoscaling import AutoScalingPool, GroupSettings, zones
from shoal.aws.clients import Service, Session, client, error_code, our_errors
from shoal.aws.dynamodb import DynamoRegister
from shoal.aws.ec2 import Ec2Pool
from shoal.aws.instance_choice import InstanceChoice
from shoal.aws.s3 import S3Store
from shoal.aws.template import find_image
from shoal.errors import CapacityUnavailable, NotFound, Permanent, Retryable
from shoal.ports import Beat
from tests.aws_session import forget_session
from tests.refusal_fixtures import refusal


class Ec2:
    """Answers RunInstances as it is told to."""

    def __init__(self, answer: Callable[[dict[str, Any]], str], text: str) -> None:
        self._answer = answer
        self._text = text
        self.asked: list[dict[str, Any]] = []

    def run_instances(self, **request: Any) -> dict[str, Any]:
        self.asked.append(request)
        if code := self._answer(request):
            raise refusal(code, "RunInstances", self._text)
        return {"Instances": []}


class Template:
    name = "shoal-worker"
    forgotten = False

    def version(self) -> str:
        return "1"

    def forget(self) -> None:
        self.forgotten = True


def scripted(answer: Callable[[dict[str, Any]], str], spot_share: float = 0.0, text: str = "no") -> tuple[Ec2Pool, Ec2]:
    ec2 = Ec2(answer, text)
    choice = InstanceChoice(["t3.micro", "t3.small"], ["us-east-1a", "subnet-1"], spot_share, 180, lambda: 0.0)
    return Ec2Pool(lambda: ec2, "p", Template(), choice), ec2  # type: ignore[arg-type]


def launch_until_refused(pool: Ec2Pool) -> None:
    while True:
        token = pool.token(1)
        try:
            pool.launch(["a"], token)
        except CapacityUnavailable:
            continue


def test_each_type_and_zone_is_tried_once_then_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, ec2 = scripted(lambda _: "InsufficientInstanceCapacity", spot_share=1.0)
    with pytest.raises(CapacityUnavailable, match="EC2 had no"):
        launch_until_refused(pool)
    tried = [
        (
            one["InstanceType"],
            one.get("SubnetId") or one["Placement"]["AvailabilityZone"],
            "InstanceMarketOptions" in one,
        )
        for one in ec2.asked
    ]
    assert len(tried) == len(set(tried)) == 8
    assert [spot for _, _, spot in tried] == [True] * 4 + [False] * 4


@pytest.mark.parametrize("code", ["MaxSpotInstanceCountExceeded", "AuthFailure.ServiceLinkedRoleCreationNotPermitted"])
def test_the_spot_quota_and_a_missing_role_rule_out_spot_at_once(code: str) -> None:
    pool, ec2 = scripted(lambda one: code if "InstanceMarketOptions" in one else "Unsupported", spot_share=1.0)
    with pytest.raises(CapacityUnavailable, match="EC2 had no"):
        launch_until_refused(pool)
    assert ["InstanceMarketOptions" in one for one in ec2.asked] == [True] + [False] * 4


@pytest.mark.parametrize("code", ["VcpuLimitExceeded", "InstanceLimitExceeded"])
def test_the_accounts_limit_says_nothing_of_a_type_or_zone(code: str) -> None:
    pool, ec2 = scripted(lambda _: code)
    for _ in range(10):
        with pytest.raises(CapacityUnavailable, match=code):
            pool.launch(["a"], pool.token(1))
    assert len(ec2.asked) == 10


def test_a_count_above_the_quota_is_halved_and_grows_again() -> None:
    pool, ec2 = scripted(lambda one: "VcpuLimitExceeded" if one["MaxCount"] > 4 else "")
    for _ in range(6):
        token = pool.token(15)
        with suppress(CapacityUnavailable):
            pool.launch([str(number) for number in range(15)], token)
    assert [one["MaxCount"] for one in ec2.asked] == [15, 7, 3, 6, 3, 6]


def test_a_region_without_the_type_launches_the_next_one() -> None:
    def answer(one: dict[str, Any]) -> str:
        return "InvalidParameterValue" if one["InstanceType"] == "t3.micro" else ""

    pool, ec2 = scripted(answer, text="Invalid value 't3.micro' for InstanceType.")
    with pytest.raises(CapacityUnavailable, match="InstanceType"):
        pool.launch(["a"], pool.token(1))
    pool.launch(["a"], pool.token(1))
    assert [one["InstanceType"] for one in ec2.asked] == ["t3.micro", "t3.small"]


def test_a_type_that_is_none_is_not_called_a_lack_of_capacity() -> None:
    def answer(one: dict[str, Any]) -> str:
        return "InvalidParameterValue" if one["InstanceType"] == "t3.micro" else "InsufficientInstanceCapacity"

    pool, _ = scripted(answer, text="Invalid value 't3.micro' for InstanceType.")
    for _ in range(3):
        with pytest.raises(CapacityUnavailable):
            pool.launch(["a"], pool.token(1))
    with pytest.raises(CapacityUnavailable) as told:
        pool.token(1)
    assert str(told.value) == (
        "EC2 knows no instance type t3.micro here: set SHOAL_INSTANCE_TYPE; "
        "EC2 had no t3.small in subnet-1 (on demand), t3.small in us-east-1a (on demand); "
        "not asked again for 180 s after that"
    )


def test_an_account_without_a_default_network_is_told_to_name_subnets() -> None:
    pool, _ = scripted(lambda _: "VPCIdNotSpecified")
    with pytest.raises(Permanent, match="SHOAL_SUBNET"):
        pool.launch(["a"], pool.token(1))


def test_an_image_that_is_gone_is_looked_up_again() -> None:
    pool, _ = scripted(lambda _: "InvalidAMIID.Unavailable")
    template = pool._template
    with pytest.raises(NotFound):
        pool.launch(["a"], pool.token(1))
    assert isinstance(template, Template)
    assert template.forgotten


def test_the_newest_image_is_found_by_its_tag_or_its_name() -> None:
    """Names are unique: an image that is baked later has another name."""

    class Images:
        def describe_images(self, Owners: list[str], Filters: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
            assert Owners == ["self"]
            [asked] = Filters
            assert asked["Values"] == ["fish-worker"]
            by_tag = [("ami-2", "2026-11-02", "available"), ("ami-3", "2026-11-03", "pending")]
            found = [("ami-1", "2026-11-01", "available")] if asked["Name"] == "name" else by_tag
            return {"Images": [{"ImageId": one, "CreationDate": day, "State": state} for one, day, state in found]}

    assert find_image(Images(), "fish-worker")["ImageId"] == "ami-2"


def test_ec2_without_capacity_is_asked_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers 500, which botocore tries again: five times take longer than the controller's lease."""
    asked: list[str] = []

    def refuse(request: AWSRequest, **_: object) -> AWSResponse:
        asked.append(request.url)
        body = b"<Response><Errors><Error><Code>InsufficientInstanceCapacity</Code></Error></Errors></Response>"
        return AWSResponse(request.url, 500, {}, Raw(body))

    with client_of("ec2") as ec2:
        ec2.meta.events.register("before-send.ec2.RunInstances", refuse)
        with pytest.raises(CapacityUnavailable), our_errors("launch"):
            ec2.run_instances(ImageId="ami-1", MinCount=1, MaxCount=1)
    assert len(asked) == 2


def test_throttling_is_retried_by_botocore_with_a_token_bucket_and_jitter() -> None:
    """Pitfall: API throttling. "standard" backs off with full jitter under a retry quota; one launch is one call."""
    with client_of("sqs") as sqs:
        assert sqs.meta.config.retries == {"mode": "standard", "total_max_attempts": 5}
    pool, ec2 = scripted(lambda _: "")
    pool.launch([str(number) for number in range(15)], pool.token(15))
    assert [one["MaxCount"] for one in ec2.asked] == [15]


class Raw(io.BytesIO):
    """The body of an answer."""

    def stream(self, **_: object) -> Iterator[bytes]:
        yield self.read()


@contextmanager
def client_of(service: str) -> Iterator[Any]:
    """A client for AWS itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "key")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        forget_session(patch)
        yield client(service)


class Group:
    """An Auto Scaling group whose members have these states."""

    def __init__(self, **states: str) -> None:
        self._members = [{"InstanceId": one, "LifecycleState": state} for one, state in states.items()]
        self.detached: list[str] = []

    def describe_auto_scaling_groups(self, **_: object) -> dict[str, Any]:
        return {"AutoScalingGroups": [{"Instances": self._members}]}

    def detach_instances(self, InstanceIds: list[str], **_: object) -> None:  # noqa: N803 - boto3's name
        self.detached += InstanceIds


class Machines:
    def __init__(self) -> None:
        self.drained: list[str] = []

    def drain(self, ids: list[str]) -> None:
        self.drained += ids


def test_a_member_that_still_joins_the_group_leaves_later() -> None:
    group, machines = Group(a="InService", b="Pending", c="Standby", d="Terminating:Wait"), Machines()
    settings = GroupSettings("workers", "p", ["t3.micro"], [], 0.0, lambda: 9)
    pool = AutoScalingPool(lambda: group, settings, machines, Template(), list)  # type: ignore[arg-type]
    with pytest.raises(Retryable, match="b cannot leave"):
        pool.drain(["a", "b", "c", "d", "e"])
    assert group.detached == ["a", "c"]
    assert machines.drained == ["a", "c", "d", "e"]


def test_a_group_spans_no_local_zones() -> None:
    class Zones:
        def describe_availability_zones(self) -> dict[str, Any]:
            kinds = {"a": "availability-zone", "b": "availability-zone", "lax-1a": "local-zone"}
            found = [{"ZoneName": one, "ZoneType": kind, "State": "available"} for one, kind in kinds.items()]
            found[1]["State"] = "impaired"
            return {"AvailabilityZones": found}

    assert zones(Zones()) == ["a"]


# Every service


def test_a_client_that_was_made_without_credentials_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pitfall: the metadata service is late, and boto3's client stays unsigned for ever."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = Session({})
    with pytest.raises(Permanent, match="no AWS credentials"), our_errors("list"):
        made.client("sqs").list_queues()
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert "X-Amz-Signature" in made.client("sqs").generate_presigned_url("list_queues")
    assert made.client("sqs") is made.client("sqs")


@pytest.mark.parametrize(
    ("code", "text", "kind", "told"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "", NotFound, "NonExistentQueue"),
        ("AWS.SimpleQueueService.RequestThrottled", "", Retryable, "RequestThrottled"),
        ("ExpiredToken", "", Retryable, "ExpiredToken"),
        ("ServiceLinkedRoleFailure", "", Retryable, "ServiceLinkedRoleFailure"),
        ("RequestTimeTooSkewed", "", Retryable, "clock of this machine"),
        ("RequestExpired", "", Retryable, "clock of this machine"),
        (
            "InvalidSignatureException",
            "Signature expired: 2026 is now earlier than",
            Retryable,
            "clock of this machine",
        ),
        ("InvalidSignatureException", "does not match", Permanent, "does not match"),
    ],
)
def test_what_a_code_means(code: str, text: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told) as found, our_errors("call"):
        raise refusal(code, "Call", text)
    assert type(found.value) is kind
    assert error_code(found.value) == code.removeprefix("AWS.SimpleQueueService.")


def test_an_answer_that_is_not_aws_own_may_be_another_the_next_time() -> None:
    with pytest.raises(Retryable, match="call: the answer is not AWS'"), our_errors("call"):
        raise ResponseParserError("invalid XML received: <!doctype html>")


EXPIRED = {
    "s3": b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
    "sqs": b'{"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "expired"}',
    "dynamodb": b'{"__type": "com.amazon.coral.service#ExpiredTokenException", "message": "expired"}',
}


@pytest.mark.parametrize("service", EXPIRED)
def test_credentials_that_expire_in_the_middle_of_work_are_a_pause(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker waits and goes on with the next credentials of its role: no photo is blamed, and none is lost."""
    queue = sqs.SqsQueue(Service("sqs"), "fish-req-queue")
    queue._url = "https://queue.example/1/fish-req-queue"
    calls: dict[str, Callable[[], object]] = {
        "s3": lambda: S3Store(Service("s3"), "bucket").put("key", b"", "text/plain"),
        "sqs": lambda: queue.delete(["receipt"]),
        "dynamodb": lambda: DynamoRegister(Service("dynamodb"), "pool").beat("i-1", Beat(1)),
    }

    def refuse(request: AWSRequest, **_: object) -> AWSResponse:
        return AWSResponse(request.url, 400, {}, Raw(EXPIRED[service]))

    with client_of(service) as boto3s:
        boto3s.meta.events.register(f"before-send.{service}", refuse)
        monkeypatch.setattr(signed, "send", lambda _, request: refuse(request))
        with pytest.raises(Retryable, match="ExpiredToken"):
            calls[service]()
        monkeypatch.setattr(signed, "send", lambda _, request: AWSResponse(request.url, 200, {}, Raw(b"{}")))
        calls[service]()


@pytest.mark.parametrize(("unknown", "there"), [(2, True), (10_000, False)])
def test_a_queue_that_was_made_a_moment_ago_is_looked_for_again(
    unknown: int, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqs, "NEW_SECONDS", 0.1)
    asked = itertools.count(1)

    class Queues:
        def get_queue_url(self, QueueName: str) -> dict[str, str]:  # noqa: N803 - boto3's name
            if next(asked) <= unknown:
                raise refusal("AWS.SimpleQueueService.NonExistentQueue", "GetQueueUrl")
            return {"QueueUrl": QueueName}

        def get_queue_attributes(self, QueueUrl: str, **_: object) -> dict[str, Any]:  # noqa: N803
            return {"Attributes": {"QueueArn": f"arn:{QueueUrl}"}}

    if there:
        assert sqs.queue_arn(Queues(), "new") == "arn:new"
    else:
        with pytest.raises(NotFound):
            sqs.queue_arn(Queues(), "new")


@pytest.mark.parametrize(("answers", "new"), [([409, 200], True), ([409, 412], False), ([409, 409], None)])
def test_a_conflict_of_writes_is_tried_once_more(answers: list[int], new: bool | None) -> None:
    codes = {409: "ConditionalRequestConflict", 412: "PreconditionFailed"}
    waiting = list(answers)

    class Bucket:
        meta = SimpleNamespace(endpoint_url="https://s3.example")

        def put_object(self, **_: object) -> None:
            if code := codes.get(waiting.pop(0)):
                raise refusal(code, "PutObject")

    store = S3Store(Service("s3", Bucket()), "bucket")
    if new is None:
        with pytest.raises(Retryable):
            store.put_new("key", b"", "text/plain")
    else:
        assert store.put_new("key", b"", "text/plain") is new
    assert waiting == []


def test_no_region_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    forget_session(monkeypatch)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(Permanent, match="AWS_DEFAULT_REGION"):
        region()
