"""Spot instances: the market option, the notice in their metadata, and that they are taken away after it."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.signed_fixtures import send_signed

# The sleep is begun before the trap: a signal that meets a copy of the shell with the trap is lost when that becomes
# the sleep, which then lives until the grace is over.
SCRIPT = "#!/bin/sh\nsleep 100 &\ntrap 'echo leaving; exit 0' TERM\necho at $AWS_EC2_METADATA_SERVICE_ENDPOINT.\nwait\n"
NOTICE_SECONDS = 1.5


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    with running_cloud(folder / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        yield cloud


class Metadata:
    """The metadata of one instance, with a token."""

    def __init__(self, cloud: CloudProcess, identifier: str) -> None:
        found = re.search(r"at (\S+)\.\n", cloud.wait_for_console(identifier, ".\n"))
        assert found is not None
        self._url = f"{found[1]}/latest"
        ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        token = requests.put(f"{self._url}/api/token", headers=ttl, timeout=10).text
        self._headers = {"X-aws-ec2-metadata-token": token}

    def get(self, path: str) -> requests.Response:
        return requests.get(f"{self._url}/meta-data/{path}", headers=self._headers, timeout=10)


def control(cloud: CloudProcess, identifier: str, what: str) -> requests.Response:
    url = f"{cloud.env['AWS_ENDPOINT_URL']}/_local_cloud/instances/{identifier}/{what}"
    return send_signed("POST", url, cloud.env)


def launch_spot(cloud: CloudProcess, **options: Any) -> str:
    return cloud.launch(SCRIPT, InstanceMarketOptions={"MarketType": "spot", **options})


def test_a_spot_instance_says_so(cloud: CloudProcess) -> None:
    described = cloud.describe(launch_spot(cloud))
    assert described["InstanceLifecycle"] == "spot"
    assert described["SpotInstanceRequestId"].startswith("sir-")
    plain = cloud.describe(cloud.launch())
    assert "InstanceLifecycle" not in plain
    assert "SpotInstanceRequestId" not in plain
    cloud.wait_for_console(described["InstanceId"], ".\n")  # its sleep has begun: see SCRIPT
    cloud.terminate(described["InstanceId"], plain["InstanceId"])


def test_a_notice_shows_in_the_metadata_then_the_instance_is_taken_away(cloud: CloudProcess) -> None:
    identifier = launch_spot(cloud)
    metadata = Metadata(cloud, identifier)
    assert metadata.get("instance-life-cycle").text == "spot"
    assert metadata.get("spot/instance-action").status_code == 404

    asked = datetime.now(UTC)
    assert control(cloud, identifier, f"interruption?notice_seconds={NOTICE_SECONDS}").status_code == 200
    notice = json.loads(metadata.get("spot/instance-action").text)
    assert notice["action"] == "terminate"
    ends = datetime.strptime(notice["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(0) <= ends - asked <= timedelta(seconds=NOTICE_SECONDS + 1)
    assert cloud.state(identifier) == "running"

    described = cloud.wait_for(identifier, "terminated")
    assert datetime.now(UTC) - asked >= timedelta(seconds=NOTICE_SECONDS)
    assert described["StateReason"]["Code"] == "Server.SpotInstanceTermination"
    assert "leaving" in cloud.console(identifier)
    assert cloud.processes_of(identifier) == []
    assert control(cloud, identifier, "interruption").status_code == 409


def test_one_that_is_to_be_stopped_is_stopped(cloud: CloudProcess) -> None:
    options = {"SpotInstanceType": "persistent", "InstanceInterruptionBehavior": "stop"}
    identifier = launch_spot(cloud, SpotOptions=options)
    metadata = Metadata(cloud, identifier)
    control(cloud, identifier, "interruption?notice_seconds=0.5")
    assert json.loads(metadata.get("spot/instance-action").text)["action"] == "stop"
    described = cloud.wait_for(identifier, "stopped")
    assert described["StateReason"]["Code"] == "Server.SpotInstanceShutdown"
    cloud.terminate(identifier)


def test_a_rebalance_recommendation_ends_nothing(cloud: CloudProcess) -> None:
    identifier = launch_spot(cloud)
    metadata = Metadata(cloud, identifier)
    assert metadata.get("events/recommendations/rebalance").status_code == 404
    assert control(cloud, identifier, "rebalance").status_code == 200
    assert "noticeTime" in json.loads(metadata.get("events/recommendations/rebalance").text)
    assert "events/" in metadata.get("").text.split("\n")
    assert cloud.state(identifier) == "running"
    cloud.terminate(identifier)


def test_a_launch_template_asks_for_spot_too(cloud: CloudProcess) -> None:
    data = {"ImageId": cloud.image(), "InstanceMarketOptions": {"MarketType": "spot"}}
    cloud.ec2.create_launch_template(LaunchTemplateName="spot", LaunchTemplateData=data)
    launched = cloud.ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "spot"}, MinCount=1, MaxCount=1)
    identifier = launched["Instances"][0]["InstanceId"]
    assert cloud.describe(identifier)["InstanceLifecycle"] == "spot"
    cloud.terminate(identifier)


def test_what_cannot_be_interrupted_is_refused(cloud: CloudProcess) -> None:
    plain = cloud.launch()
    assert control(cloud, plain, "interruption").status_code == 409
    assert control(cloud, plain, "rebalance").status_code == 409
    assert control(cloud, "i-0123456789abcdef0", "interruption").status_code == 404
    assert control(cloud, plain, "nothing").status_code == 404
    spot = launch_spot(cloud)
    for wrong in ("soon", "-1", "nan", "1e9"):
        assert control(cloud, spot, f"interruption?notice_seconds={wrong}").status_code == 400
    cloud.wait_for(spot, "running")
    cloud.wait_for_console(spot, ".\n")  # its sleep has begun: see SCRIPT
    cloud.terminate(plain, spot)
