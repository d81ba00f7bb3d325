"""`shoal plan`, `deploy` and `destroy` on the CloudFormation of ministack and moto, interrupted at each step."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shoal.aws.template import LaunchTemplate
from shoal.deployment import template_file
from shoal.errors import Permanent
from shoal_cli._deployment._first_photo import label_first_photo, wait_for_page
from tests.deployment_fixtures import (
    DENIED,
    KILLED,
    ROOT,
    Deployer,
    EmulatedAccount,
    OneFault,
    ministack_account,
    moto_account,
    queue,
)
from tests.web_fixtures import running_site

COMPLETE = "is complete."
LEFT_OUT = "(--forget leaves that out)"
PAGE = ("--page-image", "ami-12345678", "--visitors", "203.0.113.7/32", "--no-wait")


def nothing_left(prefix: str) -> str:
    return f"Nothing tagged shoal:{prefix} is left."


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAccount]:
    with ministack_account(tmp_path_factory.mktemp("ministack")) as account:
        yield account


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAccount]:
    with moto_account(tmp_path_factory.mktemp("moto")) as account:
        yield account


@pytest.fixture
def person(ministack: EmulatedAccount, monkeypatch: pytest.MonkeyPatch) -> Deployer:
    return Deployer(ministack, "fish", monkeypatch)


def test_it_is_made_changed_kept_and_destroyed(person: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = {"Bucket": "fish-in-bucket"}

    planned = person.run("plan", "--no-page")
    assert "The stack fish makes 20 things" in planned
    assert "A month at rest: $3.40" in planned
    assert person.run("destroy", "--yes", "--delete-photos") == "Nothing tagged shoal:fish is there.\n"

    made = person.deploy("--no-page")
    assert COMPLETE in made
    assert "CREATE_COMPLETE              RequestQueue" in made
    told = person.deploy()
    assert told == f"As at the last deployment: --no-page {LEFT_OUT}\nNothing was to change.\n"
    assert "Nothing changes" in person.run("plan", "--no-page")

    assert "Modify  InBucket" in person.run("plan", "--no-page", "--keep-days", "3")
    monkeypatch.setenv("SHOAL_VISIBILITY_SECONDS", "60")
    assert COMPLETE in person.deploy("--no-page")
    assert queue(person.account, "fish-req-queue")["VisibilityTimeout"] == "60"

    person.account.call("s3", "put_object", **bucket, Key="batch/0/a.jpg", Body=b"a photo")
    assert "Kept, with the photos: fish-in-bucket, fish-out-bucket" in person.destroy("--keep-photos")
    taken_in = person.deploy("--no-page")
    assert "IMPORT_COMPLETE              InBucket" in taken_in
    assert person.account.call("s3", "get_object", **bucket, Key="batch/0/a.jpg")["Body"].read() == b"a photo"
    assert nothing_left("fish") in person.destroy("--delete-photos")


def test_destroy_asks(person: Deployer) -> None:
    person.deploy("--no-page")

    assert "nothing was destroyed" in person.run("destroy", typed="delete\nno\n")
    assert "say --keep-photos or --delete-photos" in person.run("destroy", "--yes")
    assert nothing_left("fish") in person.run("destroy", "--pause", "0.05", typed="delete\nfish\n")


def test_a_private_network_a_group_a_function_and_alarms(person: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ("--no-page", "--private", "--email", "who@example.org", "--tails")
    for name, value in {
        "SHOAL_ACTUATOR": "autoscaling",
        "SHOAL_AMI": "ami-12345678",
        "SHOAL_LAMBDA_IMAGE": "000000000000.dkr.ecr.us-east-1.amazonaws.com/shoal-lambda:1",
        "SHOAL_INTAKE_PREFIX": "incoming/",
        "SHOAL_TAILS": "resnet50.conv5_block1_out",
    }.items():
        monkeypatch.setenv(name, value)

    made = person.deploy(*options)
    assert COMPLETE in made
    heard = person.account.call("s3", "get_bucket_notification_configuration", Bucket="fish-in-bucket")
    assert [one["Events"] for one in heard["QueueConfigurations"] + heard["LambdaFunctionConfigurations"]] == [
        ["s3:ObjectCreated:*"]
    ] * 2
    assert queue(person.account, "fish-req-queue")["MaximumMessageSize"] == str(64 * 1024)
    networks = person.account.call("ec2", "describe_vpc_endpoints")["VpcEndpoints"]
    assert {one["ServiceName"].rpartition(".")[2] for one in networks} == {"s3", "dynamodb", "sqs"}
    [group] = person.account.call("autoscaling", "describe_auto_scaling_groups")["AutoScalingGroups"]
    assert (group["AutoScalingGroupName"], group["MinSize"], group["MaxSize"]) == ("fish-workers", 0, 15)
    function = person.account.call("lambda", "get_function_configuration", FunctionName="fish-lambda")
    assert function["Environment"]["Variables"]["SHOAL_PREFIX"] == "fish"
    tails = person.account.call("lambda", "get_function_configuration", FunctionName="fish-lambda-tail")
    assert tails["Environment"]["Variables"]["SHOAL_TAILS"] == "resnet50.conv5_block1_out"
    assert nothing_left("fish") in person.destroy()


def balancer(account: EmulatedAccount) -> tuple[Any, ...]:
    """The balancers' listeners, where they send to, and how that is looked at."""
    elb = account.client("elbv2")
    listeners = [
        (one["Port"], one["Protocol"], one["DefaultActions"][0]["Type"], len(one.get("Certificates", ())))
        for found in elb.describe_load_balancers()["LoadBalancers"]
        for one in elb.describe_listeners(LoadBalancerArn=found["LoadBalancerArn"])["Listeners"]
    ]
    targets = [(one["Port"], one["HealthCheckPath"]) for one in elb.describe_target_groups()["TargetGroups"]]
    return sorted(listeners), targets


def test_a_domain_with_a_load_balancer_and_with_caddy(person: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    """ministack makes no instance: a parameter stands in its place, and in that of its address."""
    text = template_file.read().text
    for kind in ("Instance", "EIP"):
        text = text.replace(f"Type: AWS::EC2::{kind}\n", "Type: AWS::SSM::Parameter\n")
    monkeypatch.setattr(template_file, "read", lambda: template_file.StackTemplate(text))
    route53 = person.account.client("route53")
    zone = route53.create_hosted_zone(Name="example.org", CallerReference="fish")["HostedZone"]["Id"]
    named = ("--page-image", "ami-12345678", "--no-wait", "--domain", "photos.example.org")

    def records() -> list[bool]:
        """Of each record of the name: whether it names the balancer."""
        found = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
        return ["AliasTarget" in one for one in found if one["Name"].startswith("photos.")]

    made = person.deploy(*named, "--zone", zone.rpartition("/")[2])
    assert "Page: https://photos.example.org" in made
    assert balancer(person.account) == (
        [(80, "HTTP", "redirect", 0), (443, "HTTPS", "forward", 1)],
        [(80, "/healthz")],
    )
    certificates = person.account.call("acm", "list_certificates")["CertificateSummaryList"]
    assert [one["DomainName"] for one in certificates] == ["photos.example.org"]
    assert records() == [True]

    told = person.deploy("--thrifty", "--no-wait")
    assert COMPLETE in told
    remembered = f"--domain photos.example.org --zone {zone.rpartition('/')[2]} --page-image ami-12345678"
    assert f"As at the last deployment: {remembered} {LEFT_OUT}" in told
    assert (balancer(person.account), records()) == (([], []), [False])
    assert "Let photos.example.org point to " in person.deploy(*named, "--forget")
    assert (len(balancer(person.account)[0]), records()) == (2, [])
    assert "load balancer       fish-web\n" in person.run("destroy", typed="keep\nno\n")
    assert nothing_left("fish") in person.destroy()
    assert balancer(person.account) == ([], [])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--no-page", "--domain", "a.example"), "--domain is the page's name"),
        (("--thrifty",), "--thrifty needs --domain"),
        (("--zone", "Z1"), "--zone needs --domain"),
        (("--vpc", "vpc-1"), "--vpc and --subnets name a network together"),
    ],
)
def test_choices_that_do_not_fit_are_refused(person: Deployer, options: tuple[str, ...], told: str) -> None:
    assert told in person.deploy(*options)


def test_there_may_be_nothing_to_roll_back(person: Deployer) -> None:
    person.deploy("--no-page")
    told = person.run("deploy", "--roll-back")
    person.destroy()

    assert told.endswith("stack fish is CREATE_COMPLETE: there is nothing to roll back. Nothing more was done")


def test_a_first_creation_that_fails_goes_on_or_is_undone(person: Deployer) -> None:
    """Somebody else's instance profile is in the way."""
    iam = person.account.client("iam")
    iam.create_instance_profile(InstanceProfileName="fish-worker")

    failed = person.deploy("--no-page")
    assert "stack fish is CREATE_FAILED: WorkerProfile: " in failed
    assert "something of this name is there already" in failed
    assert "Rolled back: nothing is left of the stack." in person.run("deploy", "--roll-back", "--pause", "0.02")

    assert "WorkerProfile: " in person.deploy("--no-page")
    iam.delete_instance_profile(InstanceProfileName="fish-worker")
    assert COMPLETE in person.deploy("--no-page")
    assert nothing_left("fish") in person.destroy()


def interrupted(person: Deployer, command: str, step: str) -> None:
    person.fault = fault = OneFault(step, "Ctrl-C")
    person.deploy("--no-page") if command == "deploy" else person.destroy()
    person.fault = lambda _: None
    assert fault.came, step


# Every call and every fault: test_deployment_faults.py. Here with a real CloudFormation.
@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("CreateChangeSet", "ListObjectVersions"),
        ("ExecuteChangeSet", "DeleteStack"),
        ("DescribeStackEvents", "DeleteBucket"),
    ],
)
def test_after_ctrl_c_the_second_try_leaves_nothing(person: Deployer, first: str, last: str) -> None:
    interrupted(person, "deploy", first)
    assert person.deploy("--no-page").splitlines()[-1] in ("The stack fish is complete.", "Nothing was to change.")
    interrupted(person, "destroy", last)
    assert "Nothing tagged shoal:fish is" in person.destroy()


def test_kill_9_leaves_nothing_after_the_second_try(person: Deployer) -> None:
    def killed_after(step: str, *words: str) -> None:
        command = [sys.executable, "-c", KILLED, step, *words, "--pause", "0.02"]
        assert subprocess.run(command, cwd=ROOT, check=False).returncode == -signal.SIGKILL

    killed_after("ExecuteChangeSet", "deploy", "--no-page")
    assert person.deploy("--no-page").splitlines()[-1] in ("The stack fish is complete.", "Nothing was to change.")
    killed_after("DeleteStack", "destroy", "--yes", "--delete-photos")
    assert nothing_left("fish") in person.destroy()


@pytest.mark.parametrize(
    ("canned", "told"),
    [
        ({"DescribeVpcs": {"Vpcs": []}}, "this account has no default network in us-east-1"),
        ({"DescribeInstanceTypeOfferings": {"InstanceTypeOfferings": []}}, "us-east-1 does not offer t3.medium"),
        ({"GetServiceQuota": {"Quota": {"Value": 0.0}}}, "quota of vCPUs on demand in us-east-1 is 0 (L-1216C47A)"),
        ({"HeadBucket": ("403", "Forbidden")}, "bucket name fish-in-bucket is taken by another AWS account"),
        ({"HeadBucket": ("301", "Moved")}, "bucket fish-in-bucket is in another region than us-east-1"),
        (
            {"CreateChangeSet": ("AccessDenied", DENIED.replace("Try", "CreateChangeSet"))},
            "not permitted: cloudformation:CreateChangeSet on arn:aws:x. `shoal plan --policy FOLDER` writes",
        ),
        ({"GetCallerIdentity": ("ExpiredToken", "The security token included in the request is expired")}, "expired"),
    ],
)
def test_what_is_missing_is_said(person: Deployer, canned: dict[str, Any], told: str) -> None:
    person.answering(canned)

    assert told in person.deploy("--no-page")
    person.fault = lambda _: None
    assert person.destroy() == "Nothing tagged shoal:fish is there.\n"


def test_without_credentials_or_region_it_says_so(person: Deployer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    person.forget_session()
    assert "no AWS credentials: run `aws configure`" in person.deploy("--no-page")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    person.forget_session()
    assert "no AWS region is set: set AWS_DEFAULT_REGION" in person.run("plan")


def test_the_page_and_its_instance_on_moto(moto: EmulatedAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    person = Deployer(moto, "fish", monkeypatch)
    monkeypatch.setenv("SHOAL_TARGET_SECONDS", "30")
    monkeypatch.setenv("SHOAL_SIGN_IN", "off")  # on this machine; on AWS people always sign in

    made = person.deploy(*PAGE, "--email", "who@example.org", "--budget", "20")
    assert COMPLETE in made
    password = made.partition("with the password ")[2].split()[0]
    assert len(password) >= 16
    kept = moto.call("ssm", "get_parameter", Name="/fish/password", WithDecryption=True)["Parameter"]
    assert (kept["Value"], kept["Type"]) == (password, "SecureString")
    [program] = moto.call("s3", "list_objects_v2", Bucket="fish-code-bucket")["Contents"]
    again = person.deploy(*PAGE, "--email", "who@example.org", "--budget", "20")
    assert "password" not in again
    assert "Sign in as operator with the password " in person.deploy(*PAGE, "--new-password")
    # The user data names the version, so the instance starts again with the new password; moto leaves it as it was.
    [stack] = moto.call("cloudformation", "describe_stacks")["Stacks"]
    assert {"ParameterKey": "PasswordVersion", "ParameterValue": "2"} in stack["Parameters"]

    [reservation] = moto.call("ec2", "describe_instances")["Reservations"]
    [instance] = reservation["Instances"]
    assert instance["IamInstanceProfile"]["Arn"].endswith("fish-web")
    started = moto.call("ec2", "describe_instance_attribute", InstanceId=instance["InstanceId"], Attribute="userData")
    user_data = decoded(started["UserData"]["Value"])
    assert program["Key"] in user_data
    for line in ("SHOAL_TARGET_SECONDS=30", "SHOAL_SIGN_IN=on", "SHOAL_TRUSTED_PROXIES=1"):
        assert line in user_data
    assert made.count("Sign in as operator with") == 1
    assert password not in user_data
    subprocess.run(["bash", "-n"], input=script_of(user_data), text=True, check=True)
    [group] = moto.call("ec2", "describe_security_groups", GroupNames=["fish-web"])["SecurityGroups"]
    assert [(one["FromPort"], one["IpRanges"][0]["CidrIp"]) for one in group["IpPermissions"]] == [
        (80, "203.0.113.7/32")
    ]
    # The controller's versions of the launch template stand on the stack's: its disks are encrypted.
    template = LaunchTemplate(lambda: moto.client("ec2"), "fish-worker", "ami-12345678", lambda: "#!/bin/sh")
    assert template.version() == "2"
    versions = moto.call("ec2", "describe_launch_template_versions", LaunchTemplateName="fish-worker")
    assert {one["VersionDescription"].partition(" on top of ")[2] for one in versions["LaunchTemplateVersions"]} == {
        "",
        "1",
    }
    # The controller launches workers besides, which no stack knows.
    worker = {"Key": "shoal:pool", "Value": "fish"}
    moto.call(
        "ec2",
        "run_instances",
        ImageId="ami-12345678",
        MinCount=1,
        MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [worker]}],
    )

    assert nothing_left("fish") in person.destroy()
    assert states(moto) == {"terminated"}


def decoded(text: str) -> str:
    once = base64.b64decode(text).decode()
    return once if once.startswith("Content-Type") else base64.b64decode(once).decode()


def script_of(user_data: str) -> str:
    return "#!/bin/bash" + user_data.partition("#!/bin/bash")[2].partition("--//--")[0]


def states(account: EmulatedAccount) -> set[str]:
    reservations = account.call("ec2", "describe_instances")["Reservations"]
    return {one["State"]["Name"] for reservation in reservations for one in reservation["Instances"]}


def test_each_permission_is_explained_and_fits_into_a_policy(person: Deployer, tmp_path: Path) -> None:
    explained = (ROOT / "docs" / "deploy.md").read_text()

    files = [Path(line) for line in person.run("plan", "--policy", str(tmp_path / "new")).splitlines()]
    assert len(files) == 4
    for file in files:
        policy = json.loads(file.read_text())
        assert len("".join(file.read_text().split())) < 6144 - 32 * file.read_text().count("fish")
        assert [one["Sid"] for one in policy["Statement"] if f"`{one['Sid']}`" not in explained] == []


def test_the_first_photo_is_labelled_through_the_page() -> None:
    with running_site(sign_in="on", operator_secret="sixteen or more letters") as site:
        wait_for_page(site.url)
        with pytest.raises(Permanent, match="does not take the password: `shoal deploy --new-password`"):
            label_first_photo(site.url, "a password")

        assert label_first_photo(site.url, "sixteen or more letters") != ""
