"""The process itself: how it starts, what it refuses, and that its end leaves nothing behind."""

import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local_cloud.listeners import listen
from tests.local_cloud_fixtures import ROOT, CloudProcess, make_image, running_cloud, start_process
from tests.waiting import until

STUBBORN = "#!/bin/sh\ntrap '' TERM HUP INT\nsetsid sh -c 'sleep 1000; :' &\nwhile :; do sleep 1; done\n"


def launch_stubborn(cloud: CloudProcess) -> None:
    """One instance that ignores signals and has a process in a session of its own."""
    identifier = cloud.launch(STUBBORN)
    until(lambda: len(cloud.processes_of(identifier)) >= 4)


def test_ready_means_both_answer_and_the_env_file_says_where(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud:
        ec2, s3 = cloud.env["AWS_ENDPOINT_URL"], cloud.env["AWS_ENDPOINT_URL_S3"]
        assert cloud.ready_line == f"local cloud ready: {ec2} (EC2 and friends), {s3} (S3, SQS and friends)\n"
        assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
        assert set(cloud.env) == {
            *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_EC2_METADATA_DISABLED"),
            *("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_SQS", "AWS_ENDPOINT_URL_SNS"),
            *("AWS_ENDPOINT_URL_DYNAMODB", "AWS_ENDPOINT_URL_LAMBDA"),
        }
        sourced = subprocess.run(
            ["sh", "-c", f"set -a; . {tmp_path}/env; env"], capture_output=True, text=True, check=True
        )
        assert f"AWS_ENDPOINT_URL={ec2}" in sourced.stdout
        assert cloud.client("sts").get_caller_identity()["Account"] == "123456789012"
        queue = cloud.client("sqs").create_queue(QueueName="queue")["QueueUrl"]
        assert queue == f"{s3}/123456789012/queue"

        own = [tmp_path, *(tmp_path / "logs").rglob("*"), *(tmp_path / "cloud").rglob("*")]
        assert {path: path.stat().st_mode for path in own if path.stat().st_mode & 0o077} == {}

        second = start_process(tmp_path)
        output, errors = second.communicate(timeout=20)
        assert (second.returncode, output) == (2, "")
        assert f"in use by process {cloud.process.pid}" in errors
        assert cloud.close() == (0, "")


def test_sigterm_ends_everything_in_order_and_the_queues_are_kept(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    state = tmp_path / "state"
    arguments = ("--image", f"base={image}", "--boot-seconds", "0")
    with running_cloud(state, *arguments) as cloud:
        polite = cloud.launch("#!/bin/sh\ntrap 'echo leaving; exit 0' TERM\necho up\nsleep 100 & wait\n")
        cloud.wait_for_console(polite, "up")
        cloud.client("s3").create_bucket(Bucket="kept")
        cloud.client("s3").put_object(Bucket="kept", Key="photo", Body=b"bytes")
        queue = cloud.client("sqs").create_queue(QueueName="kept")["QueueUrl"]
        cloud.client("sqs").send_message(QueueUrl=queue, MessageBody="hello")
        assert cloud.close() == (0, "")
        assert "leaving" in (cloud.folder(polite) / "console.log").read_text()
        assert cloud.processes() == []
        assert not (state / "env").exists()

    leftover = subprocess.Popen(["sleep", "100"], env={"LOCAL_CLOUD_STATE": str(state.resolve())})
    with running_cloud(state, *arguments) as cloud:
        assert leftover.wait(timeout=10) == -signal.SIGKILL
        assert cloud.client("s3").get_object(Bucket="kept", Key="photo")["Body"].read() == b"bytes"
        queue = cloud.client("sqs").get_queue_url(QueueName="kept")["QueueUrl"]
        assert cloud.client("sqs").receive_message(QueueUrl=queue)["Messages"][0]["Body"] == "hello"
        _, errors = cloud.close()
        assert "ended 1 processes" in errors


def test_kill_9_leaves_no_process(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    with running_cloud(tmp_path / "state", "--image", f"base={image}", "--boot-seconds", "0") as cloud:
        launch_stubborn(cloud)
        assert len(cloud.processes()) >= 6
        cloud.process.kill()
        cloud.process.wait()
        until(lambda: cloud.processes() == [], seconds=5)


def test_the_terminated_are_forgotten(tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    arguments = ("--image", f"base={image}", "--boot-seconds", "0", "--forget-seconds", "0")
    with running_cloud(tmp_path / "state", *arguments) as cloud:
        forgotten = cloud.launch("#!/bin/sh\nshutdown -h now\n", InstanceInitiatedShutdownBehavior="terminate")
        until(lambda: cloud.ec2.describe_instances()["Reservations"] == [])
        until(lambda: not cloud.folder(forgotten).exists())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--host", "0.0.0.0"], "loopback"),
        (["--host", "192.0.2.1"], "unless you say --let-anyone-who-reaches-it-run-programs-here"),
        (["--host", "somewhere"], "not an IPv4 address"),
        (["--image", "base"], "NAME=FOLDER"),
        (["--image", "base=/nowhere"], "not a folder"),
        (["--boot-seconds", "-1"], "number of seconds"),
    ],
)
def test_wrong_arguments_are_refused(tmp_path: Path, arguments: list[str], word: str) -> None:
    process = start_process(tmp_path, *arguments)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert word in errors


def test_it_listens_elsewhere_only_when_told_so_in_plain_words(tmp_path: Path) -> None:
    options = ("--host", "0.0.0.0", "--let-anyone-who-reaches-it-run-programs-here")
    with running_cloud(tmp_path / "state", *options, "--image", f"base={make_image(tmp_path / 'image')}") as cloud:
        pids = [cloud.process.pid, *cloud.processes()]
        listening = [one for pid in pids for one in psutil.Process(pid).net_connections() if one.status == "LISTEN"]
        assert {one.laddr.ip for one in listening} == {"0.0.0.0", "127.0.0.1"}
        # Whatever they listen on, instances and callers here reach them on the loopback interface.
        assert cloud.env["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")
        identifier = cloud.launch("#!/bin/sh\necho at $AWS_EC2_METADATA_SERVICE_ENDPOINT $AWS_ENDPOINT_URL_S3.\n")
        console = cloud.wait_for_console(identifier, ".\n")
        assert console.count("http://127.0.0.1:") == 2


def test_by_default_everything_listens_on_the_loopback_interface_alone(tmp_path: Path) -> None:
    with running_cloud(tmp_path) as cloud:
        pids = [cloud.process.pid, *cloud.processes()]
        listening = [one for pid in pids for one in psutil.Process(pid).net_connections() if one.status == "LISTEN"]
        assert {one.laddr.ip for one in listening} == {"127.0.0.1"}
        assert len({one.laddr.port for one in listening}) == 3


def test_a_small_answer_does_not_wait_for_the_caller_s_acknowledgement() -> None:
    with (
        listen("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with running_cloud(tmp_path / "one") as cloud:
        port = cloud.env["AWS_ENDPOINT_URL"].rpartition(":")[2]
        process = start_process(tmp_path / "two", "--port", port)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in errors


def test_it_imports_nothing_of_the_rest_of_the_house() -> None:
    code = "import sys, local_cloud.cloud; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"local_cloud"}
    assert not ours & set(run.stdout.split())
