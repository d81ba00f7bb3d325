"""Hostile clouds for tests: the faults that a test names, each of them certain unless told otherwise."""

import contextlib
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from local_cloud import ACCOUNT
from local_cloud.guard.keys import CloudKeys
from local_cloud.hostile.dice import Hostility
from local_cloud.hostile.journal import JOURNAL_NAME, count
from local_cloud.service_process import ServiceProcess
from local_cloud.state_folder import StateFolder
from tests.local_cloud_fixtures import CloudProcess, running_cloud

CERTAIN = 1e6
KEYS = CloudKeys.take()
ONE_TRY = Config(retries={"mode": "standard", "total_max_attempts": 1})


def faults(state_dir: Path) -> Counter[str]:
    """How many faults of each kind were done."""
    return count(state_dir / "logs" / JOURNAL_NAME)


@contextlib.contextmanager
def hostile_cloud(
    state_dir: Path, *only: str, image: Path, seed: int = 1, rate: float = CERTAIN, scale: float = 0.05
) -> Iterator[CloudProcess]:
    """A whole cloud with these faults and one image, `base`."""
    words = ("--hostile", str(seed), "--hostile-only", ",".join(only), "--hostile-rate", str(rate))
    with running_cloud(
        state_dir, *words, "--hostile-scale", str(scale), "--image", f"base={image}", "--boot-seconds", "0"
    ) as cloud:
        yield cloud


class HostileServices:
    """ministack alone, which is up in a fraction of a second. Its clients try once."""

    def __init__(self, process: ServiceProcess, folder: StateFolder) -> None:
        self.process = process
        self.folder = folder

    def client(self, service: str, **options: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.process.url,
            region_name="us-east-1",
            aws_access_key_id=KEYS.access_key_id,
            aws_secret_access_key=KEYS.secret_access_key,
            config=ONE_TRY.merge(Config(**options)),
        )

    def faults(self) -> Counter[str]:
        return faults(self.folder.path)


@contextlib.contextmanager
def hostile_services(state_dir: Path, hostility: Hostility | None) -> Iterator[HostileServices]:
    """Queues, objects and tables with these faults; with none when `hostility` is None."""
    folder = StateFolder(state_dir)
    folder.logs.mkdir(parents=True, exist_ok=True)
    for needed in (folder.services, folder.temporary):
        needed.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        process = ServiceProcess(listener, folder, ACCOUNT, "us-east-1", KEYS, hostility)
        try:
            process.wait_until_ready()
            yield HostileServices(process, folder)
        finally:
            process.stop()
