"""The metadata service: tokens, what it tells, and boto3's own fetchers on it."""

import json
import re
import urllib.parse
from collections.abc import Iterator
from functools import partial

import pytest
import requests
from botocore.utils import InstanceMetadataFetcher, InstanceMetadataRegionFetcher

from local_cloud.machines.metadata import Tokens
from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.waiting import until

SCRIPT = """#!/bin/sh
echo tries: $AWS_METADATA_SERVICE_NUM_ATTEMPTS.
echo at $AWS_EC2_METADATA_SERVICE_ENDPOINT.
sleep 100
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    with running_cloud(folder / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        iam = cloud.client("iam")
        iam.create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
        iam.create_instance_profile(InstanceProfileName="workers")
        iam.add_role_to_instance_profile(InstanceProfileName="workers", RoleName="worker")
        yield cloud


@pytest.fixture(scope="module")
def identifier(cloud: CloudProcess) -> str:
    return cloud.launch(
        SCRIPT,
        IamInstanceProfile={"Name": "workers"},
        Placement={"AvailabilityZone": "us-east-1b"},
        MetadataOptions={"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
    )


def test_boto3_asks_it_as_often_as_on_ec2(cloud: CloudProcess, identifier: str) -> None:
    """Once, for a second: whoever needs more patience there, as ami/start-worker, has to bring it."""
    assert "tries: .\n" in cloud.wait_for_console(identifier, "at http")


def endpoint_of(cloud: CloudProcess, identifier: str) -> str:
    found = re.search(r"at (\S+)\.\n", cloud.wait_for_console(identifier, "at http"))
    assert found is not None
    assert re.search(rf"/{identifier}-[0-9a-f]{{32}}$", found[1])
    return found[1]


@pytest.fixture(scope="module")
def endpoint(cloud: CloudProcess, identifier: str) -> str:
    return endpoint_of(cloud, identifier)


@pytest.fixture
def http(endpoint: str) -> Iterator[requests.Session]:
    """A session that has its token."""
    with requests.Session() as session:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = session.put(f"{endpoint}/latest/api/token", headers=lifetime)
        assert token.status_code == 200
        session.headers["X-aws-ec2-metadata-token"] = token.text
        yield session


def test_without_a_token_nothing_is_told(endpoint: str) -> None:
    for headers in ({}, {"X-aws-ec2-metadata-token": "made up"}):
        assert requests.get(f"{endpoint}/latest/meta-data/instance-id", headers=headers).status_code == 401


@pytest.mark.parametrize("lifetime", ["", "0", "21601", "long"])
def test_a_token_needs_a_lifetime(endpoint: str, lifetime: str) -> None:
    headers = {"X-aws-ec2-metadata-token-ttl-seconds": lifetime}
    assert requests.put(f"{endpoint}/latest/api/token", headers=headers).status_code == 400


def test_a_token_ends_and_holds_for_one_instance() -> None:
    time = 1000.0
    tokens = Tokens(now=lambda: time)
    token = tokens.issue("i-1", 60)
    assert tokens.is_valid("i-1", token)
    assert not tokens.is_valid("i-2", token)
    time = 1060.0
    assert not tokens.is_valid("i-1", token)


def test_what_an_instance_learns_about_itself(
    cloud: CloudProcess, identifier: str, endpoint: str, http: requests.Session
) -> None:
    described = cloud.describe(identifier)
    expected = {
        "instance-id": identifier,
        "instance-type": "t3.micro",
        "ami-id": cloud.image(),
        "local-ipv4": described["PrivateIpAddress"],
        "placement/availability-zone": "us-east-1b",
        "placement/region": "us-east-1",
        f"network/interfaces/macs/{described['NetworkInterfaces'][0]['MacAddress']}/subnet-id": described["SubnetId"],
    }
    for path, value in expected.items():
        assert http.get(f"{endpoint}/latest/meta-data/{path}").text == value
    assert {"iam/", "placement/", "instance-id"} <= set(http.get(f"{endpoint}/latest/meta-data/").text.split("\n"))
    assert http.get(f"{endpoint}/latest/user-data").text == SCRIPT
    # cloud-init asks for versions by their dates, and lists before it reads.
    assert http.get(f"{endpoint}/2021-03-23/meta-data/instance-id").text == identifier
    assert http.get(f"{endpoint}/2021-03-23/dynamic/instance-identity/").text == "document"
    document = json.loads(http.get(f"{endpoint}/latest/dynamic/instance-identity/document").text)
    assert (document["instanceId"], document["region"]) == (identifier, "us-east-1")


@pytest.mark.parametrize("path", ["spot/instance-action", "tags/instance/none", "nothing"])
def test_what_is_not_there_is_404(endpoint: str, http: requests.Session, path: str) -> None:
    assert http.get(f"{endpoint}/latest/meta-data/{path}").status_code == 404


def test_an_unknown_instance_is_404(endpoint: str, http: requests.Session) -> None:
    assert http.get(f"{endpoint}0/latest/meta-data/instance-id").status_code == 404


def test_who_knows_the_id_alone_gets_nothing(endpoint: str, identifier: str) -> None:
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
    for name in (identifier, f"{identifier}-", f"{identifier}-{'0' * 32}", "-"):
        guessed = f"{endpoint.rpartition('/')[0]}/{name}"
        assert requests.put(f"{guessed}/latest/api/token", headers=lifetime).status_code == 404


def test_the_path_is_new_at_each_boot(cloud: CloudProcess) -> None:
    identifier = cloud.launch()
    cloud.wait_for(identifier, "running")
    record = cloud.folder(identifier) / "root" / "boots"
    script = cloud.folder(identifier) / "root" / "var/lib/cloud/scripts/per-boot/tell"
    script.parent.mkdir(parents=True)
    script.write_text(f"#!/bin/sh\necho $AWS_EC2_METADATA_SERVICE_ENDPOINT >> {record}\n")
    script.chmod(0o755)
    lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}

    def boots(count: int) -> bool:
        return record.exists() and len(record.read_text().splitlines()) == count

    for boot in (1, 2):
        cloud.ec2.reboot_instances(InstanceIds=[identifier])
        until(partial(boots, boot))
    first, second = record.read_text().splitlines()
    assert requests.put(f"{first}/latest/api/token", headers=lifetime).status_code == 404
    assert requests.put(f"{second}/latest/api/token", headers=lifetime).status_code == 200


def test_a_new_tag_shows_at_once(cloud: CloudProcess, identifier: str, endpoint: str, http: requests.Session) -> None:
    for key, value in {"plain": "1", "shoal:state": "drain", "a/b c": "2"}.items():
        cloud.ec2.create_tags(Resources=[identifier], Tags=[{"Key": key, "Value": value}])
        encoded = urllib.parse.quote(key, safe="")
        assert http.get(f"{endpoint}/latest/meta-data/tags/instance/{encoded}").text == value
        assert key in http.get(f"{endpoint}/latest/meta-data/tags/instance").text.split("\n")


def test_boto3_finds_credentials_and_region(endpoint: str) -> None:
    credentials = InstanceMetadataFetcher(base_url=endpoint, env={}).retrieve_iam_role_credentials()
    assert credentials["role_name"] == "worker"
    assert credentials["token"]
    assert credentials == InstanceMetadataFetcher(base_url=endpoint, env={}).retrieve_iam_role_credentials()
    assert InstanceMetadataRegionFetcher(base_url=endpoint, env={}).retrieve_region() == "us-east-1"


def test_no_role_no_credentials(cloud: CloudProcess) -> None:
    other = endpoint_of(cloud, cloud.launch(SCRIPT))
    assert InstanceMetadataFetcher(base_url=other, env={}).retrieve_iam_role_credentials() == {}
