"""Processes that a benchmark starts and always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import boto3.session

from benchmarks.running.system import ROOT
from benchmarks.running.waiting import wait_for
from shoal.settings import read_env_file

START_SECONDS = 60.0


@contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str], log: Path, stdin: int | None = None, group: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """A process for the length of the block. `log` gets its standard error; with `stdin`, its output can be read.

    group: it leaves processes behind when it ends, which are ended, too.
    """
    with log.open("ab") as file:
        process = subprocess.Popen(
            list(command),
            cwd=ROOT,
            env=dict(os.environ) | dict(environment),
            stdin=stdin or subprocess.DEVNULL,
            stdout=subprocess.PIPE if stdin else file,
            stderr=file,
            text=True,
            start_new_session=group,
        )
    try:
        yield process
    finally:
        for pipe in (process.stdin, process.stdout):
            _close(pipe)
        process.terminate()
        process.wait(30)
        if group:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _close(pipe: IO[str] | None) -> None:
    if pipe is not None:
        pipe.close()


@contextmanager
def embedded_cloud(folder: Path) -> Iterator[dict[str, str]]:
    """An embedded cloud without instances; returns the variables that point boto3 at it."""
    state_dir = folder / "cloud"
    (folder / "image").mkdir()
    image = f"empty={folder / 'image'}"
    command = [sys.executable, "-m", "local_cloud", "--state-dir", str(state_dir), "--image", image]
    with running(command, {}, folder / "cloud.log") as process:
        wait_for(
            lambda: process.poll() is not None or read_env_file(state_dir / "env"), START_SECONDS, "no embedded cloud"
        )
        if process.poll() is not None:
            raise RuntimeError(f"the embedded cloud ended: {(folder / 'cloud.log').read_text()[-2000:]}")
        yield read_env_file(state_dir / "env")


def prepare(cloud: Mapping[str, str], log: Path) -> None:
    """Make the buckets and queues of a Shoal in an embedded cloud."""
    command = [sys.executable, "-c", "from shoal import aws, settings; aws.prepare(settings.load())"]
    with running(command, cloud, log) as process:
        if process.wait(START_SECONDS):
            raise RuntimeError(f"the buckets and queues could not be made: {log.read_text()}")


def client_of(cloud: Mapping[str, str], service: str) -> Any:
    """A boto3 client for a service of an embedded cloud."""
    return boto3.session.Session().client(
        service,
        region_name=cloud["AWS_DEFAULT_REGION"],
        endpoint_url=cloud.get(f"AWS_ENDPOINT_URL_{service.upper()}", cloud["AWS_ENDPOINT_URL"]),
        aws_access_key_id=cloud["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cloud["AWS_SECRET_ACCESS_KEY"],
    )
