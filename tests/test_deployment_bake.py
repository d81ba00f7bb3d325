"""`shoal bake` on moto, and in its role on the embedded cloud. The test plays the builder, `make machine` has one."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import pytest
import requests

from shoal.aws.deploying import upgrading
from shoal.aws.ec2 import DRAIN_TAG, POOL_TAG
from shoal.aws.iam import policy_document
from shoal_cli._deployment import bake
from tests.deployment_fixtures import KILLED, OK_ANSWER, ROOT, Deployer, EmulatedAccount, OneFault, moto_account
from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.policy_fixtures import granted, used
from tests.test_deployment import states
from tests.waiting import until

BUCKET = "fish-bake-bucket"
BASE = "ami-03cf127a"  # moto knows it
S3_ACTIONS = {
    "HeadBucket": ["ListBucket"],
    "PutPublicAccessBlock": ["PutBucketPublicAccessBlock"],
    "ListObjectVersions": ["ListBucketVersions"],
    "DeleteObjects": ["DeleteObject", "DeleteObjectVersion"],
}
# Tags, set while things are made and by `shoal upgrade`; for a large package that is interrupted; for a builder that
# does not stop itself; of `shoal upgrade` with an Auto Scaling group.
NOT_PLAYED = {"ec2:CreateTags", "s3:AbortMultipartUpload", "ec2:StopInstances"}
NOT_PLAYED |= {"autoscaling:DescribeAutoScalingGroups", "autoscaling:DetachInstances"}


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmulatedAccount]:
    with moto_account(tmp_path_factory.mktemp("moto")) as account:
        yield account


class EmbeddedAccount(EmulatedAccount):
    """The embedded cloud, whose guard enforces what a role may do. The test itself is its owner."""

    def __init__(self, cloud: CloudProcess, role: str) -> None:
        self.cloud = cloud
        arn = f"arn:aws:iam::123456789012:role/{role}"
        keys = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="person")["Credentials"]
        self.variables = cloud.env | {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }

    def client(self, service: str) -> Any:
        return self.cloud.client(service)


class BakingPerson(Deployer):
    """Bakes, and plays the builder: at the first look it fetches what it is made of, at the second it ends."""

    def __init__(self, account: EmulatedAccount, patch: pytest.MonkeyPatch, packed: Path) -> None:
        super().__init__(account, "fish", patch)
        packed.write_bytes(b"code and models")
        patch.setattr(bake, "_packed", lambda *_: packed)
        self.packed = packed
        self.calls: set[str] = set()
        self.outcome = "ok"
        self.more_faults: Any = lambda _: None
        self.fault = self._play

    def _before(self, model: Any, params: Any = None, **more: Any) -> Any:
        if isinstance(self.account, EmbeddedAccount):
            if model.name == "RunInstances":  # an instance there would run it, on this machine
                text = b"not for this machine\n" + base64.b64decode(params["body"]["UserData"])
                params["body"]["UserData"] = base64.b64encode(text).decode()
            return super()._before(model, **more)
        if model.name == "CreateImage":  # moto does not know tags of the snapshots that are made as well
            params["body"] = {key: one for key, one in params["body"].items() if "TagSpecification.2" not in key}
        return super()._before(model, **more)

    def bake(self, *words: str) -> str:
        self._looks = 0
        return self.run("bake", "--from", BASE, "--pause", "0.01", *words)

    def images(self) -> list[dict[str, Any]]:
        filters = [{"Name": "tag:shoal:image", "Values": ["fish-worker"]}]
        found: list[dict[str, Any]] = self.account.call("ec2", "describe_images", Filters=filters)["Images"]
        return found

    def is_clean(self) -> bool:
        """Whether there is nothing but whole images."""
        buckets = [one["Name"] for one in self.account.call("s3", "list_buckets")["Buckets"]]
        whole = {one["State"] for one in self.images()} <= {"available"}
        return BUCKET not in buckets and states(self.account) <= {"terminated"} and whole

    def _play(self, name: str) -> Any:
        self.calls.add(name)
        if name == "GetObject":
            self._looks += 1
            if self._looks in (1, 3):
                self._act(ends=self._looks == 3)
        return self.more_faults(name)

    def _act(self, ends: bool) -> None:
        filters = [
            {"Name": "tag:shoal:builder", "Values": ["fish"]},
            {"Name": "instance-state-name", "Values": ["running"]},
        ]
        found: list[Any] = []

        def runs() -> bool:
            found[:] = self.account.call("ec2", "describe_instances", Filters=filters)["Reservations"]
            return bool(found)

        until(runs)
        [reservation] = found
        builder = reservation["Instances"][0]["InstanceId"]
        told = self.account.call("ec2", "describe_instance_attribute", InstanceId=builder, Attribute="userData")
        script = base64.b64decode(told["UserData"]["Value"]).decode()
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        packed, sum_, told, result = (
            script.partition(f"{name}='")[2].partition("'")[0] for name in ("packed", "sum", "told", "result")
        )
        assert requests.get(packed, timeout=10).content == self.packed.read_bytes()
        assert len(sum_) == 64
        requests.put(told, data="fetching\n" + "labels a photo\n" * ends, timeout=10).raise_for_status()
        if ends:
            requests.put(result, data=f"{self.outcome}\n", timeout=10).raise_for_status()
            self.account.call("ec2", "stop_instances", InstanceIds=[builder])


@pytest.fixture
def person(moto: EmulatedAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[BakingPerson]:
    one = BakingPerson(moto, monkeypatch, tmp_path / "packed.tar")
    yield one
    for image in one.images():
        moto.call("ec2", "deregister_image", ImageId=image["ImageId"])


def test_an_image_is_made_with_its_date_and_tags_and_the_last_ones_stay(person: BakingPerson) -> None:
    said = person.bake("--keep", "1")

    assert "\n               labels a photo\n" in said
    assert "Baked ami-" in said
    [image] = person.images()
    assert re.fullmatch(r"fish-worker-\d{8}-\d{6}", image["Name"])
    assert {"Key": "shoal", "Value": "fish"} in image["Tags"]
    assert person.is_clean()


def actions(policy: dict[str, Any]) -> set[str]:
    lists = [one["Action"] for one in policy["Statement"]]
    return {action for one in lists for action in ([one] if isinstance(one, str) else one)}


def needed(call: str) -> set[str]:
    """The permissions that a call needs; everybody may ask who they are."""
    if call == "GetCallerIdentity":
        return set()
    if call == "GetParameter":
        return {"ssm:GetParameter"}
    is_of_s3 = call in S3_ACTIONS or "Bucket" in call or "Object" in call
    return {f"s3:{one}" for one in S3_ACTIONS.get(call, [call])} if is_of_s3 else {f"ec2:{call}"}


def test_old_images_go_and_its_policy_allows_what_it_calls_and_no_more(person: BakingPerson) -> None:
    person.bake()
    assert "an old image" in person.bake("--keep", "1")
    assert len(person.images()) == 1
    person.more_faults = lambda name: (OK_ANSWER, {"Parameter": {"Value": BASE}}) if name == "GetParameter" else None
    assert "Baked ami-" in person.bake("--from", "")

    policy = json.loads((ROOT / "ami" / "bake-policy.json").read_text())
    assert actions(policy) - NOT_PLAYED == {one for call in person.calls for one in needed(call)}


def test_a_builder_that_fails_is_told_with_its_last_words(person: BakingPerson) -> None:
    person.outcome = "failed"

    assert re.search(r"the builder i-\w+ ended \(failed\): fetching; labels a photo", person.bake())
    assert person.images() == []
    assert person.is_clean()


@pytest.mark.parametrize(
    ("kind", "steps"),
    [
        ("throttled", ("PutPublicAccessBlock", "CreateImage", "DeleteBucket")),
        ("denied", ("PutObject", "RunInstances")),
        ("Ctrl-C", ("RunInstances", "CreateImage", "TerminateInstances")),
    ],
)
def test_after_faults_the_next_try_leaves_nothing(person: BakingPerson, kind: str, steps: Sequence[str]) -> None:
    for step in steps:
        person.more_faults = fault = OneFault(step, kind)
        said = person.bake()
        assert fault.came, step
        assert "`shoal bake` again begins anew" in said, step
    person.more_faults = lambda _: None

    assert "Baked ami-" in person.bake()
    assert person.is_clean()


PACKED = """
from pathlib import Path
from shoal_cli._deployment import bake

bake._packed = lambda *_: Path(__file__)
"""


def test_what_kill_9_leaves_is_removed_by_the_next_one(person: BakingPerson, tmp_path: Path) -> None:
    program = tmp_path / "killed.py"
    program.write_text(PACKED + KILLED)
    command = [sys.executable, str(program), "RunInstances", "bake", "--from", BASE, "--pause", "0.01"]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not person.is_clean()

    assert "TERMINATE      builder i-" in person.bake()
    assert person.is_clean()


# What the role was granted and the test below never needs.
UNUSED = {
    ("SendTheFilesAndHearTheBuilder", "s3:AbortMultipartUpload"): "a large package that is interrupted",
    ("FindDebiansNewestImage", "ssm:GetParameter"): "no emulator has it: the test answers",
    ("EndTheBuilderAndMakeAnImageOfIt", "ec2:StopInstances"): "a builder that does not stop itself",
    ("SeeTheGroupOfWorkers", "autoscaling:DescribeAutoScalingGroups"): "SHOAL_ACTUATOR=autoscaling",
    ("TakeThemOutOfTheirGroup", "autoscaling:DetachInstances"): "SHOAL_ACTUATOR=autoscaling",
}
PERSON = "who-bakes"


def test_in_its_role_it_bakes_and_upgrades_and_touches_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = ROOT / "ami" / "bake-policy.json"
    with running_cloud(
        tmp_path / "state", "--image", f"base={make_image(tmp_path / 'image')}", "--boot-seconds", "0"
    ) as cloud:
        iam = cloud.client("iam")
        iam.create_role(RoleName=PERSON, AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName=PERSON, PolicyName="p", PolicyDocument=policy_document(policy, "fish", "aws"))
        cloud.client("ssm").put_parameter(Name="/fish/password", Value="x", Type="String")
        account = EmbeddedAccount(cloud, PERSON)
        person = BakingPerson(account, monkeypatch, tmp_path / "packed.tar")
        person.more_faults = lambda name: (
            (OK_ANSWER, {"Parameter": {"Value": cloud.image()}}) if name == "GetParameter" else None
        )
        assert "Baked ami-" in (told := person.bake("--from", "")), told
        next_second()
        assert "an old image" in (told := person.bake("--from", "", "--keep", "1")), told
        next_second()
        assert "Baked ami-" in (told := person.bake("--from", cloud.image())), told
        newest, before = sorted(person.images(), key=lambda one: one["Name"], reverse=True)
        worker = cloud.launch(
            ImageId=newest["ImageId"],
            TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": POOL_TAG, "Value": "fish"}]}],
        )

        def leave(name: str) -> None:
            """The worker leaves when it was asked to."""
            if name == "DescribeInstances" and DRAIN_TAG in {one["Key"] for one in cloud.describe(worker)["Tags"]}:
                cloud.ec2.terminate_instances(InstanceIds=[worker])

        person.more_faults = leave
        monkeypatch.setattr(upgrading, "IMAGE_SECONDS", 0.0)
        monkeypatch.setattr(upgrading, "LAUNCH_SECONDS", 0.0)
        assert f"All workers are of {before['Name']}" in (told := person.run("upgrade", "--back", "--pause", "0.1")), (
            told
        )

        assert {one for one in granted(policy) if one not in used(cloud.state_dir, PERSON)} == set(UNUSED)
        others = cloud.launch()
        for service, action, members in (
            ("ec2", "terminate_instances", {"InstanceIds": [others]}),
            ("ec2", "deregister_image", {"ImageId": cloud.image()}),
            ("ec2", "create_tags", {"Resources": [others], "Tags": [{"Key": DRAIN_TAG, "Value": "x"}]}),
            ("ec2", "run_instances", {"ImageId": cloud.image(), "MinCount": 1, "MaxCount": 1}),
            ("ssm", "get_parameter", {"Name": "/fish/password"}),
            ("s3", "create_bucket", {"Bucket": "fish-in-bucket"}),
        ):
            with pytest.raises(botocore.exceptions.ClientError, match=r"not authorized|AccessDenied"):
                getattr(boto3.client(service, endpoint_url=endpoint(account, service)), action)(**members)


def next_second() -> None:
    """An image's name ends with the second in which it was made, and names are unique."""
    began = int(time.time())
    until(lambda: int(time.time()) > began)


def endpoint(account: EmbeddedAccount, service: str) -> str:
    return account.variables.get(f"AWS_ENDPOINT_URL_{service.upper()}", account.variables["AWS_ENDPOINT_URL"])
