"""Instances are process trees: they boot, run their user data, and die a real death."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local_cloud_fixtures import CloudProcess, make_image, running_cloud
from tests.waiting import until

GRACE_SECONDS = 1.5
FOREVER = "#!/bin/sh\necho up\nwhile :; do sleep 1; done\n"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    folder = tmp_path_factory.mktemp("cloud")
    image = make_image(folder / "image")
    options = ("--boot-seconds", "0.3", "--grace-seconds", str(GRACE_SECONDS), "--cron-seconds", "1")
    with running_cloud(folder / "state", "--image", f"base={image}", *options) as cloud:
        yield cloud


def test_an_instance_is_pending_first_then_running_then_runs_its_user_data(cloud: CloudProcess) -> None:
    answer = cloud.run("#!/bin/sh\ngreet; ./greet-link; pwd; echo $HOME; sleep 100\n")
    assert answer["State"]["Name"] == "pending"
    identifier = answer["InstanceId"]
    cloud.wait_for(identifier, "running")

    cloud.wait_for_console(identifier, "/root/root\n")
    console = cloud.console(identifier).splitlines()
    root = cloud.folder(identifier) / "root"
    assert console == ["hello from the image"] * 2 + [str(root), f"{root}/root"]
    assert (root / "greet-link").is_symlink()
    cloud.terminate(identifier)
    assert not root.exists()


def test_user_data_reaches_s3_with_nothing_but_its_role(cloud: CloudProcess) -> None:
    iam, s3 = cloud.client("iam"), cloud.client("s3")
    iam.create_role(RoleName="worker", AssumeRolePolicyDocument="{}")
    policy = {
        "Version": "2012-10-17",
        "Statement": {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::results/*"},
    }
    iam.put_role_policy(RoleName="worker", PolicyName="write", PolicyDocument=json.dumps(policy))
    iam.create_instance_profile(InstanceProfileName="workers")
    iam.add_role_to_instance_profile(InstanceProfileName="workers", RoleName="worker")
    s3.create_bucket(Bucket="results")
    script = f"""#!{sys.executable}
import boto3, os
names = " ".join(os.environ)
arn = boto3.client("sts").get_caller_identity()["Arn"]
boto3.client("s3").put_object(Bucket="results", Key=arn.rpartition("/")[2], Body=arn + " " + names)
"""
    profile = {"Name": "workers"}
    launched = cloud.ec2.run_instances(
        ImageId=cloud.image(), MinCount=2, MaxCount=2, UserData=script, IamInstanceProfile=profile
    )
    identifiers = sorted(instance["InstanceId"] for instance in launched["Instances"])

    until(lambda: s3.list_objects_v2(Bucket="results")["KeyCount"] == 2)
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket="results")["Contents"]]
    assert keys == identifiers
    body = s3.get_object(Bucket="results", Key=identifiers[0])["Body"].read().decode()
    assert "assumed-role/worker/" in body
    assert "AWS_ACCESS_KEY_ID" not in body
    assert "AWS_SECRET_ACCESS_KEY" not in body


def test_no_user_data_stays_running(cloud: CloudProcess) -> None:
    identifier = cloud.launch()
    cloud.wait_for(identifier, "running")
    assert len(until(lambda: cloud.processes_of(identifier))) == 1
    cloud.terminate(identifier)
    assert cloud.processes_of(identifier) == []


def test_max_count_instances_are_launched_and_cost_the_host_little(cloud: CloudProcess) -> None:
    def used() -> float:
        ticks = Path(f"/proc/{cloud.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    before = used()
    launched = cloud.ec2.run_instances(ImageId=cloud.image(), MinCount=1, MaxCount=15, UserData=FOREVER)
    identifiers = [instance["InstanceId"] for instance in launched["Instances"]]
    assert len(identifiers) == 15
    for identifier in identifiers:
        cloud.pid_in(f"instances/{identifier}/init.pid")
    assert used() - before < 1.0
    cloud.terminate(*identifiers)
    assert not any(cloud.processes_of(identifier) for identifier in identifiers)


def test_a_client_token_launches_once(cloud: CloudProcess) -> None:
    request = {"ImageId": cloud.image(), "MinCount": 1, "MaxCount": 2, "ClientToken": "once"}
    first, second = (cloud.ec2.run_instances(**request) for _ in range(2))
    assert first["ReservationId"] == second["ReservationId"]
    assert len(second["Instances"]) == 2
    assert [i["InstanceId"] for i in first["Instances"]] == [i["InstanceId"] for i in second["Instances"]]
    with pytest.raises(ClientError, match="IdempotentParameterMismatch"):
        cloud.ec2.run_instances(**{**request, "MaxCount": 3})
    cloud.terminate(*(instance["InstanceId"] for instance in first["Instances"]))


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"ImageId": "ami-12345678"}, "InvalidAMIID.NotFound"),
        ({"ImageId": "debian"}, "InvalidAMIID.Malformed"),
        ({"InstanceMarketOptions": {"MarketType": "flea"}}, "InvalidParameterValue"),
        ({"InstanceType": "t9.enormous"}, "InvalidParameterValue"),
        ({"MinCount": 3, "MaxCount": 2}, "InvalidParameterValue"),
        ({"user_data": "#!/bin/sh\n" + "#" * 16384}, "InvalidParameterValue"),
    ],
)
def test_a_launch_that_cannot_be_is_refused(cloud: CloudProcess, parameters: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as refusal:
        cloud.launch(**parameters)
    assert refusal.value.response["Error"]["Code"] == code


def test_a_launch_template_gives_what_the_call_leaves_out(cloud: CloudProcess) -> None:
    data = {
        "ImageId": cloud.image(),
        "InstanceType": "t3.small",
        "InstanceInitiatedShutdownBehavior": "terminate",
        "UserData": "IyEvYmluL3NoCmVjaG8gdGVtcGxhdGUKc2h1dGRvd24gLWggbm93Cg==",
    }
    cloud.ec2.create_launch_template(LaunchTemplateName="short", LaunchTemplateData=data)
    launched = cloud.ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "short"}, MinCount=1, MaxCount=1)
    identifier = launched["Instances"][0]["InstanceId"]
    assert cloud.wait_for(identifier, "terminated")["InstanceType"] == "t3.small"
    assert "template" in cloud.console(identifier)


def test_terminate_gives_user_data_its_sigterm(cloud: CloudProcess) -> None:
    identifier = cloud.launch("#!/bin/sh\ntrap 'echo leaving; sleep 1; exit 0' TERM\necho up\nsleep 100 & wait\n")
    cloud.wait_for_console(identifier, "up")
    cloud.ec2.terminate_instances(InstanceIds=[identifier])
    assert cloud.state(identifier) == "shutting-down"
    described = cloud.wait_for(identifier, "terminated")
    assert "leaving" in cloud.console(identifier)
    assert described["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert described["StateTransitionReason"].startswith("User initiated (")


@pytest.mark.alone
def test_who_ignores_sigterm_is_killed_after_the_grace(cloud: CloudProcess) -> None:
    identifier = cloud.launch("#!/bin/sh\ntrap '' TERM\necho up\nwhile :; do sleep 1; done\n")
    cloud.wait_for_console(identifier, "up")
    began = time.monotonic()
    cloud.terminate(identifier)
    assert GRACE_SECONDS <= time.monotonic() - began < GRACE_SECONDS + 5
    assert cloud.processes_of(identifier) == []


@pytest.mark.parametrize(
    ("last_line", "how"), [("exit 3", "exited with status 3"), ("kill -9 $$", "was killed by signal 9")]
)
def test_an_instance_outlives_its_user_data_and_the_console_says_how_that_ended(
    cloud: CloudProcess, last_line: str, how: str
) -> None:
    identifier = cloud.launch(f"#!/bin/sh\n{last_line}\n")
    cloud.wait_for_console(identifier, f"user-data {how}")
    until(lambda: len(cloud.processes_of(identifier)) == 1)
    assert cloud.state(identifier) == "running"
    cloud.terminate(identifier)
    until(lambda: not (cloud.folder(identifier) / "root").exists())  # it is emptied after its end is shown


@pytest.mark.parametrize(
    ("behaviour", "command", "state"),
    [("stop", "poweroff", "stopped"), ("terminate", "shutdown -h now", "terminated")],
)
def test_shutdown_from_inside(cloud: CloudProcess, behaviour: str, command: str, state: str) -> None:
    script = f"#!/bin/sh\ntrap 'echo leaving; exit 0' TERM\n{command}\nsleep 100 & wait\n"
    identifier = cloud.launch(script, InstanceInitiatedShutdownBehavior=behaviour)
    described = cloud.wait_for(identifier, state)
    assert described["StateReason"]["Code"] == "Client.InstanceInitiatedShutdown"
    assert "leaving" in cloud.console(identifier)


BOOTHOOK = """#cloud-boothook
#!/bin/sh
echo hook >>$HOME/boots
sleep 100
"""


def test_a_boothook_runs_at_every_boot(cloud: CloudProcess) -> None:
    identifier = cloud.launch(BOOTHOOK)
    boots = cloud.folder(identifier) / "root" / "root" / "boots"
    until(lambda: boots.exists() and boots.read_text() == "hook\n")
    cloud.ec2.reboot_instances(InstanceIds=[identifier])
    until(lambda: boots.read_text() == "hook\nhook\n")
    cloud.terminate(identifier)


PER_BOOT = """#!/bin/sh
echo first >>$HOME/boots
mkdir -p etc/cron.d var/lib/cloud/scripts/per-boot
echo '@reboot root echo cron >>$HOME/boots' >etc/cron.d/at-boot
printf '#!/bin/sh\\necho script >>$HOME/boots\\n' >var/lib/cloud/scripts/per-boot/10-note
chmod +x var/lib/cloud/scripts/per-boot/10-note
sleep 100
"""


def test_user_data_runs_at_the_first_boot_boot_scripts_and_cron_at_every_one(cloud: CloudProcess) -> None:
    identifier = cloud.launch(PER_BOOT)
    boots = cloud.folder(identifier) / "root" / "root" / "boots"

    def noted() -> list[str]:
        return sorted(boots.read_text().split()) if boots.exists() else []

    until(lambda: noted() == ["first"])
    until(lambda: (cloud.folder(identifier) / "root" / "var/lib/cloud/scripts/per-boot/10-note").exists())
    cloud.ec2.reboot_instances(InstanceIds=[identifier])
    until(lambda: noted() == ["cron", "first", "script"])
    assert cloud.state(identifier) == "running"
    cloud.ec2.stop_instances(InstanceIds=[identifier])
    cloud.wait_for(identifier, "stopped")
    assert cloud.processes_of(identifier) == []
    cloud.ec2.start_instances(InstanceIds=[identifier])
    until(lambda: noted() == ["cron", "cron", "first", "script", "script"])
    cloud.terminate(identifier)
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        cloud.ec2.start_instances(InstanceIds=[identifier])


def test_the_console_is_where_cloud_init_writes_its_log(cloud: CloudProcess) -> None:
    identifier = cloud.launch("#!/bin/sh\necho told; sleep 100\n")
    cloud.wait_for_console(identifier, "told")
    log = cloud.folder(identifier) / "root" / "var" / "log" / "cloud-init-output.log"
    assert log.read_text() == "told\n"


def test_a_protected_instance_is_not_terminated_until_it_is_released(cloud: CloudProcess) -> None:
    identifier = cloud.launch(FOREVER, DisableApiTermination=True)
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        cloud.ec2.terminate_instances(InstanceIds=[identifier])
    assert cloud.state(identifier) in ("pending", "running")
    cloud.ec2.modify_instance_attribute(InstanceId=identifier, DisableApiTermination={"Value": False})
    cloud.terminate(identifier)


def test_the_shutdown_behaviour_can_be_changed(cloud: CloudProcess) -> None:
    identifier = cloud.launch("#!/bin/sh\nwhile ! [ -e go ]; do sleep 0.05; done\nshutdown -h now\n")
    behaviour = {"Value": "terminate"}
    cloud.ec2.modify_instance_attribute(InstanceId=identifier, InstanceInitiatedShutdownBehavior=behaviour)
    cloud.wait_for(identifier, "running")
    (cloud.folder(identifier) / "root" / "go").touch()
    cloud.wait_for(identifier, "terminated")


def test_cron_starts_a_process_again(cloud: CloudProcess) -> None:
    script = r"""#!/bin/sh
mkdir -p etc/cron.d
cat >etc/cron.d/worker <<'END'
# keeps one worker alive
GREETING="good morning"
* * * * * root shutdown -h now
* * * * * root flock -n $HOME/lock sh -c 'echo $$ >$HOME/pid; echo $GREETING; exec sleep 100'
this line is no job
END
"""
    identifier = cloud.launch(script)
    name = f"instances/{identifier}/root/root/pid"
    first = cloud.pid_in(name)
    os.kill(first, signal.SIGKILL)
    until(lambda: cloud.pid_in(name) != first)
    console = cloud.console(identifier)
    assert "good morning" in console
    assert "worker, line 5" in console
    # As with Debian's cron: its PATH has no sbin.
    assert "shutdown: not found" in console
    assert cloud.state(identifier) == "running"
    cloud.terminate(identifier)
    assert cloud.processes_of(identifier) == []


def test_kill_9_of_init_leaves_no_process(cloud: CloudProcess) -> None:
    identifier = cloud.launch("#!/bin/sh\nsetsid sh -c 'sleep 100; :' &\nsleep 100\n")
    until(lambda: len(cloud.processes_of(identifier)) >= 5)
    os.kill(cloud.pid_in(f"instances/{identifier}/init.pid"), signal.SIGKILL)
    cloud.wait_for(identifier, "stopped")
    assert cloud.processes_of(identifier) == []


def test_the_type_is_changed_while_it_is_stopped(cloud: CloudProcess) -> None:
    identifier = cloud.launch(FOREVER)
    cloud.wait_for(identifier, "running")
    with pytest.raises(ClientError, match="IncorrectInstanceState"):
        cloud.ec2.modify_instance_attribute(InstanceId=identifier, InstanceType={"Value": "t3.large"})
    cloud.ec2.stop_instances(InstanceIds=[identifier])
    cloud.wait_for(identifier, "stopped")
    with pytest.raises(ClientError, match="InvalidParameterValue"):
        cloud.ec2.modify_instance_attribute(InstanceId=identifier, InstanceType={"Value": "t9.enormous"})
    cloud.ec2.modify_instance_attribute(InstanceId=identifier, InstanceType={"Value": "t3.large"})
    assert cloud.describe(identifier)["InstanceType"] == "t3.large"
    cloud.terminate(identifier)


def test_an_image_is_made_copied_launched_and_removed(cloud: CloudProcess) -> None:
    def available(image: str) -> bool:
        return bool(cloud.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "available")

    baked = cloud.launch("#!/bin/sh\necho baked >etc-baked\necho up\nsleep 100\n")
    cloud.wait_for_console(baked, "up")
    image = cloud.ec2.create_image(InstanceId=baked, Name="baked")["ImageId"]
    until(lambda: available(image))
    with pytest.raises(ClientError, match="already in use"):
        cloud.ec2.create_image(InstanceId=baked, Name="baked")
    copied = cloud.ec2.copy_image(SourceImageId=image, SourceRegion="us-east-1", Name="copied")["ImageId"]
    until(lambda: available(copied))
    cloud.ec2.deregister_image(ImageId=image)
    identifier = cloud.launch("#!/bin/sh\ncat etc-baked; sleep 100\n", ImageId=copied)
    cloud.wait_for_console(identifier, "baked")
    with pytest.raises(ClientError, match="InvalidAMIID"):
        cloud.launch(ImageId=image)
    assert [path.name for path in (cloud.state_dir / "cloud" / "images").iterdir() if path.is_dir()] == [copied]
    cloud.terminate(baked, identifier)


def test_an_image_of_snapshots_is_refused(cloud: CloudProcess) -> None:
    with pytest.raises(ClientError, match="UnsupportedOperation"):
        cloud.ec2.register_image(Name="snapshots", RootDeviceName="/dev/sda1")


def test_a_launch_template_has_versions(cloud: CloudProcess) -> None:
    def launched_type(**template: str) -> str:
        which = {"LaunchTemplateName": "versions", **template}
        return str(
            cloud.ec2.run_instances(LaunchTemplate=which, MinCount=1, MaxCount=1)["Instances"][0]["InstanceType"]
        )

    for number, kind in enumerate(("t3.nano", "t3.micro", "t3.small")):
        data = {"ImageId": cloud.image(), "InstanceType": kind}
        if number == 0:
            cloud.ec2.create_launch_template(LaunchTemplateName="versions", LaunchTemplateData=data)
        else:
            cloud.ec2.create_launch_template_version(LaunchTemplateName="versions", LaunchTemplateData=data)
    assert launched_type() == launched_type(Version="$Default") == "t3.nano"
    assert launched_type(Version="$Latest") == "t3.small"
    assert launched_type(Version="2") == "t3.micro"
    cloud.ec2.modify_launch_template(LaunchTemplateName="versions", DefaultVersion="2")
    assert launched_type() == "t3.micro"
