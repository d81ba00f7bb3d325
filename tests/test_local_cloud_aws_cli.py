"""The AWS command line drives it, from outside and from inside an instance."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.local_cloud_fixtures import ROOT, CloudProcess, make_image, running_cloud
from tests.waiting import until

AWS = ROOT / ".venv" / "aws" / "bin" / "aws"
# Ten lines that know nothing of this cloud but its queue and its bucket. Version 1 of the command line does not look at
# AWS_ENDPOINT_URL_SQS, hence the option.
WORKER = """#!/bin/bash
queue=$(aws sqs get-queue-url --endpoint-url "$AWS_ENDPOINT_URL_SQS" --queue-name requests --query QueueUrl | tr -d '"')
env | aws s3 cp - s3://results/environment
while :; do
    read -r handle body < <(aws sqs receive-message --endpoint-url "$AWS_ENDPOINT_URL_SQS" --queue-url "$queue" \\
        --wait-time-seconds 10 --query 'Messages[0].[ReceiptHandle,Body]' --output text)
    [ -n "$body" ] || continue
    echo "label of $body" | aws s3 cp - "s3://results/$body"
    aws sqs delete-message --endpoint-url "$AWS_ENDPOINT_URL_SQS" --queue-url "$queue" --receipt-handle "$handle"
done
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    (image / "bin" / "aws").symlink_to(AWS)
    with running_cloud(folder / "state", "--image", f"base={image}", "--boot-seconds", "0.1") as cloud:
        yield cloud


def aws(cloud: CloudProcess, *arguments: str) -> Any:
    """Run the command line as a user does who has sourced the env file; what it answers."""
    service = arguments[0].removesuffix("api").upper()
    endpoint = cloud.env.get(f"AWS_ENDPOINT_URL_{service}", cloud.env["AWS_ENDPOINT_URL"])
    run = run_aws(cloud, *arguments, "--endpoint-url", endpoint, "--output", "json")
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout) if run.stdout.strip() else None


def run_aws(cloud: CloudProcess, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command line with the variables of the env file and these."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(cloud.state_dir), **cloud.env, **variables}
    return subprocess.run([str(AWS), *arguments], env=environment, capture_output=True, text=True)


def test_a_ten_line_script_polls_the_queue_and_writes_to_the_bucket_with_its_role_alone(
    cloud: CloudProcess, tmp_path: Path
) -> None:
    assert len(WORKER.splitlines()) == 10
    script = tmp_path / "user-data.sh"
    script.write_text(WORKER)
    aws(cloud, "s3api", "create-bucket", "--bucket", "results")
    queue = aws(cloud, "sqs", "create-queue", "--queue-name", "requests")["QueueUrl"]
    aws(cloud, "iam", "create-role", "--role-name", "worker", "--assume-role-policy-document", "{}")
    policy = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": ["sqs:*", "s3:PutObject"], "Resource": "*"},
    }
    named = ("--role-name", "worker", "--policy-name", "work")
    aws(cloud, "iam", "put-role-policy", *named, "--policy-document", json.dumps(policy))
    aws(cloud, "iam", "create-instance-profile", "--instance-profile-name", "worker")
    profile = ("--instance-profile-name", "worker", "--role-name", "worker")
    aws(cloud, "iam", "add-role-to-instance-profile", *profile)
    owned = aws(cloud, "ec2", "describe-images", "--owners", "self")["Images"]
    launched = aws(
        cloud, "ec2", "run-instances", "--image-id", owned[0]["ImageId"], "--instance-type", "t3.micro",
        "--user-data", f"file://{script}", "--iam-instance-profile", "Name=worker",
        "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=worker-1}]",
    )  # fmt: skip
    identifier = launched["Instances"][0]["InstanceId"]
    for name in ("cat.jpg", "dog.jpg"):
        aws(cloud, "sqs", "send-message", "--queue-url", queue, "--message-body", name)

    s3, sqs = cloud.client("s3"), cloud.client("sqs")
    until(lambda: s3.list_objects_v2(Bucket="results")["KeyCount"] == 3, 60)
    assert s3.get_object(Bucket="results", Key="cat.jpg")["Body"].read() == b"label of cat.jpg\n"
    environment = s3.get_object(Bucket="results", Key="environment")["Body"].read().decode()
    assert "AWS_EC2_METADATA_SERVICE_ENDPOINT=" in environment
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        assert name not in environment

    def left() -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)["Attributes"]
        return sum(map(int, attributes.values()))

    until(lambda: left() == 0, 30)
    aws(cloud, "ec2", "terminate-instances", "--instance-ids", identifier)
    cloud.wait_for(identifier, "terminated")


@pytest.mark.parametrize(
    ("command", "asked", "right"),
    [
        (("s3", "ls"), "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"),
        (("sqs", "list-queues"), "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"),
        (("dynamodb", "list-tables"), "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_DYNAMODB"),
        (("ec2", "describe-instances"), "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    ],
)
def test_a_call_to_the_address_of_other_services_is_told_the_right_one(
    cloud: CloudProcess, command: tuple[str, ...], asked: str, right: str
) -> None:
    told = run_aws(cloud, *command, "--endpoint-url", cloud.env[asked])
    assert told.returncode != 0
    assert "InvalidAddress" in told.stderr
    assert f"its address is in {right} (" in told.stderr
    assert run_aws(cloud, *command, "--endpoint-url", cloud.env[right]).returncode == 0


def test_an_address_that_the_command_line_signs_in_the_old_way_is_told_how_to_sign(cloud: CloudProcess) -> None:
    aws(cloud, "s3api", "create-bucket", "--bucket", "signed")
    run_aws(cloud, "s3api", "put-object", "--bucket", "signed", "--key", "photo")
    config = cloud.state_dir / "aws-config"
    answers = []
    for lines in ("", "[default]\ns3 =\n    signature_version = s3v4\n"):
        config.write_text(lines)
        url = run_aws(cloud, "s3", "presign", "s3://signed/photo", AWS_CONFIG_FILE=str(config)).stdout.strip()
        answers.append(requests.get(url, timeout=60))
    old, new = answers
    assert old.status_code == 403
    assert "aws configure set default.s3.signature_version s3v4" in old.text
    assert new.status_code == 200


def test_a_life_in_commands(cloud: CloudProcess, tmp_path: Path) -> None:
    script = tmp_path / "user-data.sh"
    script.write_text("#!/bin/sh\necho hello; sleep 100\n")
    image = cloud.image()
    launch = ("--image-id", image, "--instance-type", "t3.nano", "--user-data", f"file://{script}")
    launched = aws(cloud, "ec2", "run-instances", *launch, "--count", "1:2", "--client-token", "twice")
    again = aws(cloud, "ec2", "run-instances", *launch, "--count", "1:2", "--client-token", "twice")
    first, second = (instance["InstanceId"] for instance in launched["Instances"])
    assert [instance["InstanceId"] for instance in again["Instances"]] == [first, second]
    aws(cloud, "ec2", "wait", "instance-running", "--instance-ids", first, second)
    cloud.wait_for_console(first, "hello")
    output = aws(cloud, "ec2", "get-console-output", "--instance-id", first)["Output"]
    assert output == "hello\n"
    aws(cloud, "ec2", "stop-instances", "--instance-ids", first)
    cloud.wait_for(first, "stopped")
    aws(cloud, "ec2", "start-instances", "--instance-ids", first)
    cloud.wait_for(first, "running")
    aws(cloud, "ec2", "create-tags", "--resources", first, "--tags", "Key=Name,Value=one")
    found = aws(cloud, "ec2", "describe-instances", "--filters", "Name=tag:Name,Values=one")["Reservations"]
    assert [instance["InstanceId"] for one in found for instance in one["Instances"]] == [first]
    aws(cloud, "ec2", "terminate-instances", "--instance-ids", first, second)
    for identifier in (first, second):
        cloud.wait_for(identifier, "terminated")
