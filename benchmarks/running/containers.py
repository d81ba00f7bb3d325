"""`python -m benchmarks.running.containers`: runs each image of ami/containers with a real photo, and says what it did.

It ends with status 1 when a label is wrong, a container runs as root or is not healthy, or SIGTERM loses work. All is
on an embedded cloud of its own, which has no instances: the worker is the container.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from benchmarks.running import processes
from benchmarks.running.lambda_runtime import lambda_runtime
from benchmarks.running.ports import free_port
from benchmarks.running.system import ROOT
from benchmarks.running.waiting import wait_for
from shoal import aws, settings
from shoal.aws.label_tables import create_tables
from shoal.messages import Result
from shoal.ports import Cloud

EXAMPLES = ROOT / "static" / "examples"
LABELS: dict[str, str] = json.loads((EXAMPLES / "labels.json").read_text())
USER = "10001"
# runc, as crun refuses some machines' cgroups; the limits, because others may not raise them.
RUN = ("--network", "host", "--ulimit", "nofile=1024:4096", "--ulimit", "nproc=1000:2000")
LAMBDA = ("--read-only", "--tmpfs", "/tmp", "--user", "993:990")
PHOTOS = 48  # of the batch in whose middle the worker is stopped
START_SECONDS, STOP_SECONDS = 90.0, 60


def podman(*words: str) -> str:
    """What a podman command prints. Raises RuntimeError with its complaint."""
    done = subprocess.run(["podman", "--runtime", "runc", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"podman {' '.join(words[:3])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


class Container:
    """A running container."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    def logs(self) -> str:
        """All that it said."""
        done = subprocess.run(["podman", "logs", self._identity], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr

    def user(self) -> str:
        """The number of the user of its processes."""
        return podman("exec", self._identity, "id", "-u")

    def is_healthy(self) -> bool:
        """Whether its health check passes. Raises RuntimeError when the container has ended."""
        if podman("inspect", "-f", "{{.State.Running}}", self._identity) != "true":
            raise RuntimeError(f"the container ended: {self.logs()[-2000:]}")
        check = ["podman", "--runtime", "runc", "healthcheck", "run", self._identity]
        return not subprocess.run(check, capture_output=True, check=False).returncode

    def stop(self) -> int:
        """Send SIGTERM, wait until it has ended; returns its exit status."""
        podman("stop", "-t", str(STOP_SECONDS), self._identity)
        return int(podman("inspect", "-f", "{{.State.ExitCode}}", self._identity))

    def ready(self) -> str:
        """Wait until its health check passes; who it is and how long it took, in words."""
        began = time.monotonic()
        wait_for(self.is_healthy, START_SECONDS, lambda: f"not healthy: {self.logs()[-2000:]}", 0.3)
        check(self.user() == USER, "it does not run as the user of its image")
        return f"user {self.user()}, healthy {time.monotonic() - began:.1f} s after its start"


@contextmanager
def container(image: str, variables: Mapping[str, str], options: Sequence[str] = ()) -> Iterator[Container]:
    """A container for the length of the block."""
    given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    identity = podman("run", "--detach", *RUN, *options, *given, image)
    try:
        yield Container(identity)
    finally:
        podman("rm", "--force", "--time", "0", identity)


def check(is_right: bool, what: str) -> None:
    """End with status 1 unless it is right."""
    if not is_right:
        sys.exit(f"containers: {what}")


def say(image: str, words: str) -> None:
    """Print what an image did."""
    print(f"{image:>13}  {words}", flush=True)


def try_pair(cloud: Mapping[str, str], ports: Cloud) -> None:
    """A web process and a worker label photos; the worker is stopped in the middle of a batch, then the web process."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with (
        container("shoal-web", {**cloud, "SHOAL_PORT": str(port)}) as web,
        container("shoal-worker", {**cloud, "AWS_EC2_METADATA_DISABLED": "true"}) as worker,
    ):
        say("shoal-web", web.ready())
        say("shoal-worker", worker.ready())
        for name in sorted(LABELS):
            began = time.monotonic()
            photo = {"inputFile": (name, (EXAMPLES / name).read_bytes())}
            answer = requests.post(address, files=photo, timeout=120).text.strip()
            say("shoal-web", f"{answer} ({time.monotonic() - began:.2f} s)")
            check(answer == f"{Path(name).stem}:{LABELS[name]}", f"{answer}, not {LABELS[name]}")
        _stop_in_the_middle(address, ports, worker)
        status = web.stop()
        say("shoal-web", f"SIGTERM: status {status}")
        check(status == 0, "the web process did not end well")


def _stop_in_the_middle(address: str, ports: Cloud, worker: Container) -> None:
    photo = (EXAMPLES / "cat.jpg").read_bytes()
    # Other bytes each, behind the end of the picture: no answer from memory.
    files = [("inputFile", (f"{number}.jpg", photo + bytes([number]))) for number in range(PHOTOS)]
    requests.post(f"{address}/v1/batches", files=files, timeout=60).raise_for_status()
    wait_for(lambda: ports.requests.depth().in_flight, START_SECONDS, "the worker takes nothing")
    status = worker.stop()
    left = ports.requests.depth()
    last = worker.logs().strip().splitlines()[-1]
    finished = int(re.findall(r"(\d+) messages finished", last)[0])
    say(
        "shoal-worker",
        f"SIGTERM in a batch of {PHOTOS}: status {status}, {left.in_flight} in flight, {left.visible} left",
    )
    say("shoal-worker", last)
    check((status, left.in_flight) == (0, 0), "the worker did not drain")
    check(finished + left.visible == len(LABELS) + PHOTOS, "photos were lost")


def try_lambda(cloud: Mapping[str, str], chosen: settings.Settings, ports: Cloud) -> None:
    """The function labels photos that events announce: as any user, with nothing to write but /tmp."""
    with lambda_runtime() as runtime:
        began = time.monotonic()
        own = {"AWS_LAMBDA_RUNTIME_API": runtime.address, "AWS_LAMBDA_FUNCTION_NAME": "shoal-lambda"}
        with container("shoal-lambda", {**cloud, **own}, LAMBDA) as function:
            for name in sorted(LABELS):
                key = f"{chosen.lambda_prefix}{name}"
                ports.inputs.put(key, (EXAMPLES / name).read_bytes(), "image/jpeg")
                try:
                    answer = runtime.invoke(_event(chosen.in_bucket, key))
                except RuntimeError as error:
                    sys.exit(f"containers: {error}\n{function.logs()[-2000:]}")
                label = Result.from_json(ports.outputs.get(key).decode()).label
                say("shoal-lambda", f"{name}:{label} ({time.monotonic() - began:.2f} s) {answer}")
                check(label == LABELS[name], f"{label}, not {LABELS[name]}")
                began = time.monotonic()


def _event(bucket: str, key: str) -> dict[str, Any]:
    """An event of S3 that announces an object."""
    told = {"bucket": {"name": bucket}, "object": {"key": key, "size": 1, "sequencer": "0A"}}
    return {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": told}]}


def main() -> None:
    """Try the three images."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        with processes.embedded_cloud(folder) as cloud:
            processes.prepare(cloud, folder / "prepare.log")
            chosen = settings.load_with_env_file({"SHOAL_STATE_DIR": str(folder / "cloud")})
            ports = aws.connect(chosen)
            create_tables(aws.clients.client("dynamodb"), chosen.images_table, chosen.labels_table)
            try_pair(cloud, ports)
            try_lambda(cloud, chosen, ports)


if __name__ == "__main__":
    main()
