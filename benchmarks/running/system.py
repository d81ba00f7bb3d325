"""A whole Shoal as a user starts it, to be measured and tested: `shoal up` as a process, with its own cloud."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3.session
import psutil
import requests
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks.running.looking import Looking
from benchmarks.running.ports import free_port
from benchmarks.running.waiting import wait_for
from local_cloud.hostile import HONEST
from shoal.aws.uploads import PROBE_PREFIX
from shoal.buckets.failures import FAILURES
from shoal.buckets.passing_records import SUSPECTS
from shoal.settings import Settings, load, read_env_file

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 90.0
POOL_SECONDS = 0.1


class RunningSystem:
    """`shoal up` in its own state folder, with functions to look into it."""

    def __init__(self, state_dir: Path, up_options: Sequence[str] = (), **settings: object) -> None:
        self.state_dir = state_dir
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        own = {"STATE_DIR": state_dir, "PORT": self.port, "QUIET_SECONDS": 3, "LOCAL_BOOT_SECONDS": 0.5}
        own |= {"ANSWER_CACHE": 0, **settings}  # a photo that is sent again must be work again
        self.environment = dict(os.environ) | {f"SHOAL_{name}": str(value) for name, value in own.items()}
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling each file anew is a third of a start
        self.output = state_dir / "terminal.log"
        self._up_options = up_options
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: dict[tuple[str, bytes], Any] = {}

    def start(self) -> None:
        """Start it and wait until its page answers."""
        self.spawn()
        wait_for(self.answers, START_SECONDS, lambda: f"the page did not answer: {self.text()}")

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it and do not wait."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "shoal_cli", "up", *self._up_options],
                cwd=ROOT, env=self.environment, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        return self._process

    def text(self) -> str:
        """Its terminal output."""
        return self.output.read_text() if self.output.exists() else ""

    def answers(self) -> bool:
        """Whether its page answers now. Raises RuntimeError if it has ended."""
        if self.process.poll() is not None:
            raise RuntimeError(f"shoal up ended: {self.text()}")
        try:
            return requests.get(f"{self.address}/healthz", timeout=5).ok
        except requests.RequestException:
            return False

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The `shoal up` process. Raises RuntimeError if it was not started."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal if it runs, wait for its end, return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(60)

    # its processes

    def processes(self) -> list[psutil.Process]:
        """All its processes, wherever in the tree: their environment or arguments name its state folder."""
        return [one for one, _ in self._commands()]

    def _commands(self) -> Iterator[tuple[psutil.Process, list[str]]]:
        """Its processes with their command lines, read while they were alive."""
        for one in psutil.process_iter():
            try:
                command = one.cmdline()
                known = str(self.state_dir) in " ".join([*command, *one.environ().values()])
                if known and one.pid != os.getpid() and one.status() != psutil.STATUS_ZOMBIE:
                    yield one, command
            except psutil.Error:
                continue  # it ended meanwhile, or is somebody else's

    def part(self, words: str) -> psutil.Process:
        """The child of `shoal up` whose command line contains `words`."""
        children = psutil.Process(self.process.pid).children()
        return next(one for one in children if words in " ".join(one.cmdline()))

    def workers(self) -> list[psutil.Process]:
        """The worker processes on its instances."""
        return [one for one, command in self._commands() if command[1:] == ["-m", "app_tier"]]

    # its cloud

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return load(self.environment)

    def client(self, service: str) -> Any:
        """A boto3 client of its embedded cloud, which answers it truthfully even in hostile mode.

        The same client as long as the cloud's addresses stay: making one for each look costs half a core.
        """
        env_file = (self.state_dir / "env").read_bytes()
        if (service, env_file) not in self._clients:
            self._clients[service, env_file] = self._make_client(service)
        return self._clients[service, env_file]

    def _make_client(self, service: str) -> Any:
        cloud = read_env_file(self.state_dir / "env")
        name = f"AWS_ENDPOINT_URL_{service.upper()}"
        return boto3.session.Session().client(
            service,
            region_name=cloud["AWS_DEFAULT_REGION"],
            endpoint_url=cloud.get(name, cloud["AWS_ENDPOINT_URL"]),
            aws_access_key_id=HONEST,
            aws_secret_access_key=cloud["AWS_SECRET_ACCESS_KEY"],
        )

    def keys(self, bucket: str) -> set[str]:
        """The keys of photos or results in a bucket: no test uploads of a web process, no notes of what went wrong."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        keys = {one["Key"] for page in pages for one in page.get("Contents", ())}
        return {key for key in keys if not key.startswith((PROBE_PREFIX, f"{SUSPECTS}/", f"{FAILURES}/"))}

    def waiting(self, queue: str) -> int:
        """Messages of any kind in a queue."""
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        counts: Mapping[str, str] = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        names = ("", "NotVisible", "Delayed")
        return sum(int(counts[f"ApproximateNumberOfMessages{name}"]) for name in names)

    def machines(self) -> list[dict[str, Any]]:
        """All instances that are not terminated."""
        states = ["pending", "running", "shutting-down", "stopping", "stopped"]
        answer = self.client("ec2").describe_instances(Filters=[{"Name": "instance-state-name", "Values": states}])
        return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]

    def wait_until_empty(self, seconds: float = 60.0) -> None:
        """Wait until no instance is left."""
        try:
            wait_for(lambda: not self.machines(), seconds, "instances are left", 0.25)
        except TimeoutError as error:
            error.add_note(self.text()[-3000:])
            for one in self.machines():
                console = self.state_dir / "cloud" / "instances" / one["InstanceId"] / "console.log"
                error.add_note(f"{one['InstanceId']} {one['State']['Name']}: {console.read_text()[-1000:]}")
            raise


class PoolWatch(Looking):
    """Counts the instances, so often that not even a moment above the cap is missed."""

    def __init__(self, system: RunningSystem) -> None:
        super().__init__(POOL_SECONDS)
        self._system = system
        self.most = 0

    def look(self) -> None:
        with suppress(BotoCoreError, ClientError, OSError):  # the cloud is away
            self.most = max(self.most, len(self._system.machines()))
