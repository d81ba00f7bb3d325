"""Which calls are written down, and which of them a later one makes void."""

import io
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from local_cloud.ec2.journal import Call, CallsFile, is_kept, read_call

INSTANCE = "i-0123456789abcdef0"
IMAGE = "ami-0123456789abcdef0"


def made(action: str, service: str = "ec2", **asked: Any) -> Call:
    return Call("2026-01-01T00:00:00+00:00", 1, service, "us-east-1", action, urlencode({"Action": action, **asked}))


def environ(service: str, body: str) -> dict[str, Any]:
    return {
        "HTTP_AUTHORIZATION": f"AWS4-HMAC-SHA256 Credential=key/20260101/eu-west-1/{service}/aws4_request, Signature=0",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
        "wsgi.input": io.BytesIO(body.encode()),
    }


def test_a_call_that_changes_something_is_read_and_can_be_read_again() -> None:
    asked = environ("ec2", "Action=CreateVpc&CidrBlock=10.0.0.0/16")
    call = read_call(asked)
    assert call is not None
    assert (call.service, call.region, call.action) == ("ec2", "eu-west-1", "CreateVpc")
    assert asked["wsgi.input"].read() == b"Action=CreateVpc&CidrBlock=10.0.0.0/16"
    again = read_call(call.environ())
    assert again is not None
    assert (again.service, again.region, again.action, again.body) == ("ec2", "eu-west-1", "CreateVpc", call.body)


@pytest.mark.parametrize(
    ("service", "body"),
    [("ec2", "Action=DescribeVpcs"), ("iam", "Action=GetRole&RoleName=a"), ("sts", "Action=AssumeRole"), ("s3", "")],
)
def test_a_call_that_changes_nothing_here_is_not(service: str, body: str) -> None:
    assert read_call(environ(service, body)) is None


@pytest.mark.parametrize(
    ("call", "kept"),
    [
        (made("CreateLaunchTemplate", ImageId=IMAGE), True),
        (made("CreateTags", ResourceId="vpc-0123456789abcdef0"), True),
        (made("CreateTags", ResourceId=INSTANCE), False),
        (made("CreateTags", ResourceId=IMAGE), False),
        (made("TerminateInstances", InstanceId=INSTANCE), False),
        (made("RunInstances", ImageId=IMAGE), False),
        (made("CreateImage", InstanceId=INSTANCE), False),
        (made("SetDesiredCapacity", "autoscaling", AutoScalingGroupName="a", DesiredCapacity=1), True),
    ],
)
def test_what_has_files_of_its_own_is_left_out(call: Call, kept: bool) -> None:
    assert is_kept(call) == kept


def capacity(group: str, number: int) -> Call:
    return made("SetDesiredCapacity", "autoscaling", AutoScalingGroupName=group, DesiredCapacity=number)


def policy(text: str) -> Call:
    return made("PutRolePolicy", "iam", PolicyDocument=text)


CREATED, DELETED = made("CreateRole", "iam"), made("DeleteRolePolicy", "iam")


@pytest.mark.parametrize(
    ("calls", "left"),
    [
        ([capacity("a", 1), capacity("b", 2), capacity("a", 3)], [capacity("b", 2), capacity("a", 3)]),
        ([CREATED, policy("1"), policy("1")], [CREATED, policy("1")]),
        ([policy("1"), policy("2"), policy("1")], [policy("2"), policy("1")]),
        ([policy("1"), DELETED, policy("1")], [policy("1"), DELETED, policy("1")]),
    ],
)
def test_of_many_settings_of_one_thing_the_last_counts(tmp_path: Path, calls: list[Call], left: list[Call]) -> None:
    file = CallsFile(tmp_path / "calls.jsonl")
    for call in calls:
        file.append(call)
    assert file.read() == left
    assert file.read() == left


def test_a_line_cut_short_is_left_out(tmp_path: Path) -> None:
    file = CallsFile(tmp_path / "calls.jsonl")
    assert file.read() == []
    file.append(CREATED)
    with (tmp_path / "calls.jsonl").open("a") as broken:
        broken.write('{"at": "2026')
    assert file.read() == [CREATED]
    file.append(DELETED)
    assert file.read() == [CREATED, DELETED]
