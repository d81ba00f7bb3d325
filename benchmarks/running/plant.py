"""An embedded cloud, controllers and workers as real processes, without a page: for tests that disturb controllers."""

from __future__ import annotations

import io
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from benchmarks.running import stub_engine
from benchmarks.running.looking import Looking
from benchmarks.running.processes import client_of
from benchmarks.running.system import ROOT
from benchmarks.running.waiting import wait_for
from shoal import ledger_file
from shoal.aws.clients import Service
from shoal.aws.dynamodb import DynamoLeasePlace, DynamoRegister
from shoal.aws.ec2 import DRAIN_TAG, LAUNCH_TAG
from shoal.aws.sqs import SqsQueue
from shoal.lease import LeaseRecord
from shoal.ledger import Entry
from shoal.messages import Job, new_batch
from shoal.settings import Settings, load, read_env_file

START_SECONDS = 120.0
SETTLE_SECONDS = 180.0
POLL_SECONDS = 0.05
PREPARE = "from shoal import settings; from shoal.aws import prepare; prepare(settings.load())"
LEFT = re.compile(r"leaves \((?P<why>[^)]*)\): (?P<finished>\d+) messages finished")


class ControllerProcess:
    """A controller process with its own state folder. It can be killed, paused and started again."""

    def __init__(self, name: str, state_dir: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.state_dir = state_dir
        self._environment = environment | {"SHOAL_STATE_DIR": str(state_dir)}
        self._process: subprocess.Popen[bytes] | None = None
        self._said_before = 0  # length of the log when its present life began

    def start(self) -> None:
        """Start it and do not wait."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with (self.state_dir / "controller.log").open("ab") as log:
            self._said_before = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "controller.py"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait for its end."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """Ask it to stop; return its status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        status = self._process.wait(30)
        self._process = None
        return status

    def watches(self) -> bool:
        """Whether the current process has begun to tick."""
        return b"watching" in (self.state_dir / "controller.log").read_bytes()[self._said_before :]

    def holder(self) -> str:
        """The id with which it holds the lease."""
        path = self.state_dir / "controller.id"
        return path.read_text() if path.exists() else ""

    def acts(self) -> list[Entry]:
        """The ledger entries with an action."""
        return [one for one in ledger_file.read(self.state_dir / ledger_file.NAME) if one.done]


class Plant:
    """A context manager: the cloud and `controllers` controllers. All are stopped at the end."""

    def __init__(self, folder: Path, controllers: int = 1, **settings: object) -> None:
        self.folder = folder
        cache_dir = folder / "cache"
        stub_engine.prepare(cache_dir)
        own = {
            "PREFIX": "chaos", "CACHE_DIR": cache_dir, "ENGINE": stub_engine.NAME, "INSTANCE_TYPE": "t3.small",
            "POLICY": "per_message", "QUIET_SECONDS": 2, "WINDOW_SECONDS": 1, "TICK_SECONDS": 0.2, "BEAT_SECONDS": 0.5,
            "LEASE_SECONDS": 3, "ANSWER_CACHE": 0, "VISIBILITY_SECONDS": 30, **settings,
        }  # fmt: skip
        plain = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "SHOAL_"))}
        self._environment = plain | {f"SHOAL_{name}": str(value) for name, value in own.items()}
        self._count = controllers
        self._cloud: subprocess.Popen[bytes] | None = None
        self.settings: Settings = load(self._environment)
        self.controllers: list[ControllerProcess] = []

    def __enter__(self) -> Plant:
        image = self.folder / "image"
        image.mkdir(parents=True)
        subprocess.run([ROOT / "ami" / "install", image, sys.executable, self.folder / "cache"], check=True)
        command = [sys.executable, "-m", "local_cloud", "--state-dir", str(self.folder), "--boot-seconds", "0.5"]
        command += ["--image", f"{self.settings.image}={image}"]
        with (self.folder / "cloud.log").open("wb") as log:
            self._cloud = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        env = self.folder / "env"
        wait_for(env.exists, START_SECONDS, "the embedded cloud did not start")
        self._environment |= read_env_file(env)
        subprocess.run([sys.executable, "-c", PREPARE], cwd=ROOT, env=self._environment, check=True)
        for number in range(self._count):
            name = f"controller-{number + 1}"
            self.controllers.append(ControllerProcess(name, self.folder / name, self._environment))
            self.controllers[-1].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self.controllers:
            one.kill()
        if self._cloud is not None:
            self._cloud.terminate()
            self._cloud.wait(60)

    def environment_of(self, role: str) -> dict[str, str]:
        """The environment of a program that acts in a role."""
        arn = f"arn:aws:iam::123456789012:role/{role}"
        keys = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="plant")["Credentials"]
        return self._environment | {
            "AWS_ACCESS_KEY_ID": keys["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"],
            "AWS_SESSION_TOKEN": keys["SessionToken"],
        }

    def client(self, service: str) -> Any:
        """A boto3 client of the embedded cloud."""
        return client_of(self._environment, service)

    @cached_property
    def ec2(self) -> Any:
        """For all but the watch, which has a client of its own."""
        return self.client("ec2")

    @cached_property
    def _s3(self) -> Any:
        return self.client("s3")

    @cached_property
    def _requests(self) -> SqsQueue:
        return SqsQueue(Service("sqs", self.client("sqs")), self.settings.req_queue)

    @cached_property
    def _dynamodb(self) -> Service:
        return Service("dynamodb", self.client("dynamodb"))

    # work

    def submit(self, count: int) -> None:
        """Put photos in the bucket and their request messages in the queue."""
        batch = new_batch(time.time())
        jobs = [Job(batch, index, f"{index}.jpg", self.settings.resp_queue) for index in range(count)]
        for job in jobs:
            self._s3.put_object(Bucket=self.settings.in_bucket, Key=job.key, Body=_photo(), ContentType="image/jpeg")
        self._requests.send([job.to_json() for job in jobs])

    def bury(self, *bodies: str) -> None:
        """Put messages in the dead-letter queue."""
        SqsQueue(Service("sqs", self.client("sqs")), self.settings.dead_queue).send(bodies)

    def unanswered(self) -> int:
        """Photos without a result."""
        return len(self._keys(self.settings.in_bucket) - self._keys(self.settings.out_bucket))

    def photos(self) -> int:
        """All photos."""
        return len(self._keys(self.settings.in_bucket))

    def _keys(self, bucket: str) -> set[str]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {one["Key"] for page in pages for one in page.get("Contents", ())}

    def messages(self) -> int:
        """Request messages of any kind."""
        return self._requests.depth().total

    def machines(self, ec2: Any = None) -> list[dict[str, Any]]:
        """All instances that are not terminated, by any launcher."""
        answer = (ec2 or self.ec2).describe_instances()
        found = [one for reservation in answer["Reservations"] for one in reservation["Instances"]]
        return [one for one in found if one["State"]["Name"] != "terminated"]

    def settle(self) -> list[str]:
        """Wait until all work is done and the pool is at zero; return what is wrong."""
        wrong = []
        for condition, what in (
            (lambda: not self.unanswered(), "photos have no result"),
            (lambda: not self.messages(), "request messages are left"),
            (lambda: not self.machines(), "instances are left"),
            (lambda: not self.beats(), "workers are still registered"),
            (lambda: self.lease().notes in ("", "[]"), "launch intents are left"),
        ):
            try:
                wait_for(condition, SETTLE_SECONDS, what, every_seconds=0.1)
            except TimeoutError as error:
                wrong.append(str(error))
        return wrong

    # controllers

    def lease(self) -> LeaseRecord:
        """The current record of the lease."""
        record = DynamoLeasePlace(self._dynamodb, self.settings.pool_table).read()
        return record or LeaseRecord(0, "", 0)

    def active(self) -> ControllerProcess | None:
        """The controller that holds the lease; None if none of ours holds it."""
        holder = self.lease().holder
        return next((one for one in self.controllers if holder and one.holder() == holder), None)

    def beats(self) -> dict[str, Any]:
        """The register."""
        return dict(DynamoRegister(self._dynamodb, self.settings.pool_table).workers())

    def drain_busy(self, choice: random.Random) -> bool:
        """Wait for a worker that holds messages and mark it, as the controller does; False if all work ends first."""
        busy: list[str] = []

        def found() -> bool:
            busy.extend(
                sorted(worker for worker, beat in self.beats().items() if beat.in_progress and not beat.leaving)
            )
            return bool(busy) or not self.messages()

        wait_for(found, SETTLE_SECONDS, "no worker took up the work")
        if not busy:
            return False
        mark = {"Key": DRAIN_TAG, "Value": "2026-01-01T00:00:00+00:00"}
        self.ec2.create_tags(Resources=[choice.choice(busy)], Tags=[mark])
        return True


def _photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (96, 64), (90, 120, 150)).save(file, "JPEG")
    return file.getvalue()


class Watch(Looking):
    """Counts the instances, so often that not even a moment above the cap is missed."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(POLL_SECONDS)
        self._plant = plant
        self._ec2 = plant.client("ec2")
        self.looks = 0
        self.most = 0
        self.seen: dict[str, str] = {}  # instance: the token of its launch

    def look(self) -> None:
        found = self._plant.machines(self._ec2)
        self.looks += 1
        self.most = max(self.most, len(found))
        for one in found:
            tags = {tag["Key"]: tag["Value"] for tag in one.get("Tags", ())}
            self.seen[one["InstanceId"]] = tags.get(LAUNCH_TAG, "")


class Leavings:
    """How the workers of instances ended, from their consoles."""

    def __init__(self, plant: Plant, instances: Sequence[str]) -> None:
        self.reasons: Counter[str] = Counter()
        self.finished = 0
        self.killed: list[str] = []
        for one in instances:
            console = plant.folder / "cloud" / "instances" / one / "console.log"
            text = console.read_text(errors="replace") if console.exists() else ""
            left = LEFT.search(text)
            if left is not None:
                self.reasons[left["why"]] += 1
                self.finished += int(left["finished"])
            elif " ready: " in text:
                self.killed.append(one)
            else:
                self.reasons["never worked"] += 1
