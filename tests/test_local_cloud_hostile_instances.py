"""EC2 and its instances under hostile mode, on a real cloud: each fault is made certain, and seen from outside."""

import time
from pathlib import Path

import botocore.exceptions
import pytest

from tests.hostile_fixtures import faults, hostile_cloud
from tests.local_cloud_fixtures import ROOT, CloudProcess, make_image
from tests.waiting import until

PYTHON = ROOT / ".venv" / "bin" / "python"
NOTICE = """#!/bin/sh
echo up
url="$AWS_EC2_METADATA_SERVICE_ENDPOINT/latest"
token=$(curl -s -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' $url/api/token)
until curl -sf -H "X-aws-ec2-metadata-token: $token" $url/meta-data/spot/instance-action; do sleep 0.1; done
echo " is the notice"
trap 'echo leaving; exit 0' TERM
sleep 100 & wait
"""
CALLS = f"""#!/bin/sh
exec {PYTHON} -u -c '
import os, time, urllib.request
slowest = 0.0
while True:
    began = time.monotonic()
    urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL_S3"] + "/_ministack/health").read()
    spent = time.monotonic() - began
    if spent > slowest + 0.5:
        slowest = spent
        print("one call took", round(spent, 1), "s")
    time.sleep(0.02)
'
"""


@pytest.fixture(autouse=True)
def _one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "image")


def refusal(error: pytest.ExceptionInfo[botocore.exceptions.ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_the_hostile_cloud_says_so_and_others_are_not(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "throttled", image=image, rate=0) as cloud:
        assert cloud.process.stdout is not None
        said = until(lambda: next((line for line in cloud.process.stdout if "HOSTILE" in line), ""))  # type: ignore[union-attr]
    assert "local cloud is HOSTILE (seed 1): it fails and lies on purpose" in said
    assert faults(tmp_path) == {}


def test_calls_are_throttled(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "throttled", image=image) as cloud:
        with pytest.raises(botocore.exceptions.ClientError) as error:
            cloud.ec2.describe_instances()
        assert refusal(error) == "RequestLimitExceeded"
        assert cloud.client("sts").get_caller_identity()["Account"]
    assert faults(tmp_path) == {"throttled": 1}


def test_a_launch_does_not_show_at_once(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "describe-lag", image=image) as cloud:
        launched = cloud.launch("#!/bin/sh\nsleep 100\n")
        assert cloud.ec2.describe_instances()["Reservations"] == []
        with pytest.raises(botocore.exceptions.ClientError) as error:
            cloud.ec2.create_tags(Resources=[launched], Tags=[{"Key": "Name", "Value": "one"}])
        assert refusal(error) == "InvalidInstanceID.NotFound"
        [found] = until(lambda: cloud.ec2.describe_instances()["Reservations"])
        assert found["Instances"][0]["InstanceId"] == launched
        cloud.ec2.create_tags(Resources=[launched], Tags=[{"Key": "Name", "Value": "one"}])
    assert faults(tmp_path)["describe-lag"] >= 2


def test_capacity_is_missing_in_one_zone_for_a_while(tmp_path: Path, image: Path) -> None:
    with (
        hostile_cloud(tmp_path, "no-capacity", image=image) as cloud,
        pytest.raises(botocore.exceptions.ClientError) as error,
    ):
        cloud.launch()
    assert refusal(error) == "InsufficientInstanceCapacity"
    assert faults(tmp_path)["no-capacity"] >= 1


def test_a_launch_brings_fewer_than_asked(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "less-capacity", image=image) as cloud:
        answer = cloud.ec2.run_instances(
            ImageId=cloud.image(), InstanceType="t3.micro", MinCount=2, MaxCount=9, ClientToken="once"
        )
        assert 2 <= len(answer["Instances"]) < 9
        again = cloud.ec2.run_instances(
            ImageId=cloud.image(), InstanceType="t3.micro", MinCount=2, MaxCount=9, ClientToken="once"
        )
        ids = [[one["InstanceId"] for one in found["Instances"]] for found in (answer, again)]
        assert ids[0] == ids[1]


def test_a_slow_boot_and_a_wrong_clock(tmp_path: Path, image: Path) -> None:
    script = f"#!/bin/sh\n{PYTHON} -c 'import datetime as d, time; print(time.time(), d.datetime.now().timestamp())'\n"
    with hostile_cloud(tmp_path, "slow-boot", "wrong-clock", image=image, scale=0.02) as cloud:
        began = time.monotonic()
        launched = cloud.launch(script)
        cloud.wait_for(launched, "running")
        assert time.monotonic() - began > 90 * 0.02
        by_time, by_date = (
            float(word)
            for word in until(lambda: [x for x in cloud.console(launched).splitlines() if x.startswith("1")])[0].split()
        )
        assert 110 < abs(by_time - time.time()) < 620
        assert by_date == pytest.approx(by_time, abs=1)
    assert faults(tmp_path) == {"slow-boot": 1, "wrong-clock": 1}


def test_a_hung_boot_runs_and_does_nothing(tmp_path: Path, image: Path) -> None:
    (image / "etc" / "cron.d").mkdir(parents=True)
    (image / "etc" / "cron.d" / "job").write_text("@reboot root echo cron is alive\n")
    with hostile_cloud(tmp_path, "hung-boot", image=image) as cloud:
        launched = cloud.launch("#!/bin/sh\necho the worker is alive\nsleep 100\n")
        cloud.wait_for(launched, "running")
        # Two processes would be a sign of life; init is the only one.
        assert len(until(lambda: cloud.processes_of(launched))) == 1
        cloud.terminate(launched)
        assert "alive" not in (cloud.folder(launched) / "console.log").read_text()
    assert faults(tmp_path) == {"hung-boot": 1}


def test_an_interruption_comes_with_a_notice(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "interruption", image=image, seed=0, scale=0.02) as cloud:
        launched = cloud.launch(NOTICE, InstanceInitiatedShutdownBehavior="terminate")
        found = cloud.wait_for(launched, "terminated", 40)
        console = (cloud.folder(launched) / "console.log").read_text()
    assert '"terminate"' in console
    assert "is the notice" in console
    assert "leaving" in console
    assert found["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert faults(tmp_path) == {"interruption": 1}


def test_an_instance_vanishes_without_a_word(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "vanishing", image=image, seed=3, scale=0.01) as cloud:
        launched = cloud.launch("#!/bin/sh\ntrap 'echo leaving; exit 0' TERM\necho up\nsleep 100 & wait\n")
        found = cloud.wait_for(launched, "terminated")
        assert cloud.processes_of(launched) == []
        assert "leaving" not in (cloud.folder(launched) / "console.log").read_text()
    assert found["StateReason"]["Code"] == "Server.InternalError"


@pytest.mark.alone
def test_a_network_is_cut_and_mended(tmp_path: Path, image: Path) -> None:
    with hostile_cloud(tmp_path, "partition", image=image, seed=3, scale=0.01) as cloud:
        cut, whole = cut_off(cloud), cloud
        slowest = float(cut.rpartition("one call took ")[2].split()[0])
        assert 0.5 < slowest < 4  # 60 to 300 s, scaled
        assert whole.client("s3").list_buckets()["Buckets"] == []
    assert faults(tmp_path)["partition"] >= 1


def cut_off(cloud: CloudProcess) -> str:
    """The console of an instance after its network was cut and mended."""
    launched = cloud.launch(CALLS)
    return cloud.wait_for_console(launched, "one call took", 30)
