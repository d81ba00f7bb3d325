"""The same calls on plain moto and on the embedded cloud: every difference is listed here, on purpose."""

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest

from benchmarks.running.ports import free_port
from tests.local_cloud_fixtures import make_image, running_cloud
from tests.local_cloud_parity_calls import ParityWorld, calls
from tests.waiting import until

# What a call answers: on plain moto, here, and why not the same.
DIFFERENCES: dict[str, tuple[Any, Any, str]] = {
    "images of others": (True, False, "moto's made-up images can launch nothing here"),
    "launch up to three": (1, 3, "MaxCount is what EC2 launches when it can"),
    "state right after a launch": ("running", "pending", "an instance takes a moment to boot"),
    "the same client token": (False, True, "EC2 launches once"),
    "a client token with other parameters": ("launched", "IdempotentParameterMismatch", "as EC2"),
    "an unknown image": ("launched", "InvalidAMIID.NotFound", "as EC2"),
    "an image id that is none": ("launched", "InvalidAMIID.Malformed", "as EC2"),
    "an unknown type": ("launched", "InvalidParameterValue", "as EC2's RunInstances"),
    "an unknown market": ("launched", "InvalidParameterValue", "as EC2"),
    "user data of 17 KB": ("launched", "InvalidParameterValue", "EC2 takes 16 KB"),
    "what the console shows": (False, True, "user data runs"),
    "protected at launch": ("done", "OperationNotPermitted", "moto forgets DisableApiTermination of a launch"),
    "a profile for two": (1, 2, "moto gives it to the first alone"),
    "a profile from a template": (0, 1, "moto does not look there"),
    "spot from a template": (None, "spot", "moto does not look there"),
    "a spot request's id": (False, True, "a spot instance has one"),
    "shutdown behaviour changed later": ("stop", "terminate", "moto takes the call for another"),
    "type changed while running": ("done", "IncorrectInstanceState", "as EC2"),
    "state right after a stop": ("stopped", "stopping", "processes have a grace period"),
    "start of a terminated one": ("done", "IncorrectInstanceState", "as EC2"),
    "reboot of a terminated one": ("done", "IncorrectInstanceState", "as EC2"),
    "two images of one name": ("done", "InvalidAMIName.Duplicate", "as EC2"),
    "an image of snapshots": ("done", "UnsupportedOperation", "volumes have no content here"),
    "launch of an image removed": ("launched", "InvalidAMIID.NotFound", "as EC2"),
    "a group beyond its bounds": ("done", "ValidationError", "as EC2"),
    "a group's version of its template": ("1", "2", "moto takes the default version"),
    "a group deleted with its members": ("done", "ResourceInUse", "as EC2, unless forced"),
    "a queue's old receipt handle": ("done", "ReceiptHandleIsInvalid", "ministack, stricter than SQS"),
    "an object with a wrong checksum": ("done", "BadDigest", "ministack, as S3"),
}


@contextlib.contextmanager
def plain_moto() -> Iterator[ParityWorld]:
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
                return True
        except OSError:
            return False

    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    try:
        until(answers, 60)
        yield ParityWorld(lambda service: boto3.client(service, endpoint_url=url, **keys), "ami-12c6146b")
    finally:
        server.kill()
        server.wait()


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ParityWorld, ParityWorld]]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    options = ("--image", f"base={image}", "--boot-seconds", "0.3", "--grace-seconds", "2")
    with plain_moto() as plain, running_cloud(folder / "state", *options) as cloud:
        yield plain, ParityWorld(cloud.client, cloud.image())


@pytest.mark.parametrize("name", calls)
def test_the_same_call_on_plain_moto_and_here(worlds: tuple[ParityWorld, ParityWorld], name: str) -> None:
    plain, here = (calls[name](world) for world in worlds)
    if name in DIFFERENCES:
        expected_plain, expected_here, _ = DIFFERENCES[name]
        assert plain != here, "listed as a difference, but there is none"
        assert (plain, here) == (expected_plain, expected_here)
    else:
        assert here == plain, "a difference that is not listed"


def test_every_difference_that_is_listed_is_looked_at() -> None:
    assert not DIFFERENCES.keys() - calls.keys()
