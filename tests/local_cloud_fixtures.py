"""A local cloud for tests: a real process, real boto3, and waiting with a deadline."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3

from local_cloud.machines import processes
from tests.waiting import until

ROOT = Path(__file__).parents[1]


def start_process(
    state_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """`environment` is added to this process's own."""
    return subprocess.Popen(
        [sys.executable, "-m", "local_cloud", "--state-dir", str(state_dir), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
    )


class CloudProcess:
    """One running local cloud, with clients for it."""

    def __init__(self, state_dir: Path, *arguments: str) -> None:
        self.state_dir = state_dir.resolve()
        self.process = start_process(state_dir, *arguments)
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        if not self.ready_line:
            raise AssertionError(self.process.communicate()[1])
        self._clients: dict[str, Any] = {}
        self.env = dict(
            word.split("=", 1) for line in (state_dir / "env").read_text().splitlines() for word in shlex.split(line)
        )

    def client(self, service: str) -> Any:
        if service not in self._clients:
            special = self.env.get(f"AWS_ENDPOINT_URL_{service.upper()}")
            self._clients[service] = boto3.client(
                service,
                endpoint_url=special or self.env["AWS_ENDPOINT_URL"],
                region_name=self.env["AWS_DEFAULT_REGION"],
                aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            )
        return self._clients[service]

    @property
    def ec2(self) -> Any:
        return self.client("ec2")

    def image(self, name: str = "base") -> str:
        found = self.ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
        return str(found[0]["ImageId"])

    def launch(self, user_data: str = "", **parameters: Any) -> str:
        """Run one instance; its id."""
        return str(self.run(user_data, **parameters)["InstanceId"])

    def run(self, user_data: str = "", **parameters: Any) -> dict[str, Any]:
        """Run one instance; what the call answers about it."""
        parameters = {"ImageId": self.image(), "MinCount": 1, "MaxCount": 1, "InstanceType": "t3.micro", **parameters}
        described: dict[str, Any] = self.ec2.run_instances(UserData=user_data, **parameters)["Instances"][0]
        return described

    def describe(self, identifier: str) -> dict[str, Any]:
        reservations = self.ec2.describe_instances(InstanceIds=[identifier])["Reservations"]
        described: dict[str, Any] = reservations[0]["Instances"][0]
        return described

    def state(self, identifier: str) -> str:
        return str(self.describe(identifier)["State"]["Name"])

    def wait_for(self, identifier: str, state: str, seconds: float = 20.0) -> dict[str, Any]:
        until(lambda: self.state(identifier) == state, seconds)
        return self.describe(identifier)

    def console(self, identifier: str) -> str:
        return str(self.ec2.get_console_output(InstanceId=identifier)["Output"])

    def wait_for_console(self, identifier: str, text: str, seconds: float = 20.0) -> str:
        until(lambda: text in self.console(identifier), seconds)
        return self.console(identifier)

    def terminate(self, *identifiers: str) -> None:
        self.ec2.terminate_instances(InstanceIds=list(identifiers))
        for identifier in identifiers:
            self.wait_for(identifier, "terminated")

    def folder(self, identifier: str) -> Path:
        return self.state_dir / "cloud" / "instances" / identifier

    def processes(self) -> list[int]:
        """All processes of this cloud but its first."""
        return processes.marked(f"LOCAL_CLOUD_STATE={self.state_dir}")

    def processes_of(self, identifier: str) -> list[int]:
        return processes.marked(f"LOCAL_CLOUD_INSTANCE={identifier}")

    def pid_in(self, name: str) -> int:
        """The pid that a process has written to a file below the state folder's cloud/."""
        path = self.state_dir / "cloud" / name
        return int(until(lambda: path.exists() and path.read_text().strip()))

    def close(self) -> tuple[int, str]:
        """Stop it if it runs; its exit status and what it wrote to stderr."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors


@contextlib.contextmanager
def running_cloud(state_dir: Path, *arguments: str) -> Iterator[CloudProcess]:
    cloud = CloudProcess(state_dir, *arguments)
    try:
        yield cloud
    finally:
        cloud.close()


def make_image(folder: Path) -> Path:
    """A small image: a program, a link, a cron file that nothing depends on."""
    (folder / "bin").mkdir(parents=True)
    program = folder / "bin" / "greet"
    program.write_text("#!/bin/sh\necho hello from the image\n")
    program.chmod(0o755)
    (folder / "greet-link").symlink_to("bin/greet")
    return folder
