"""`python -m benchmarks.running.machines`: the image baked, booted as machines, and all that ends a worker, once each.

It ends with status 1 when a step fails. `make machine` runs it; it needs root, systemd-nspawn and mmdebstrap. With
`--short`, for CI (`.ci/machines`), it launches once and not three times, leaves `shoal bake` out, and judges no times.

The time to the first label counts from the start of the machine's first process (pid 1), in parts:
boot         until cloud-init begins
cloud-init   until the user data has run; meanwhile the worker loads its model: "(model)" is when it had
start        until the worker has taken its settings up and reached its cloud
first image  until the label of the photo that waited is there
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import requests

from benchmarks.running.system import ROOT, RunningSystem
from benchmarks.running.waiting import wait_for
from shoal.settings import read_env_file
from shoal_cli.up import DEBIAN, machine_image

EXAMPLES = ROOT / "static" / "examples"
LABELS: dict[str, str] = json.loads((EXAMPLES / "labels.json").read_text())
LAUNCHES = 3
PHOTOS = 10
RESTART_SECONDS, CRON_SECONDS = 5.0, 65.0
PATIENCE_SECONDS = 120.0  # with what may take seconds on a quiet machine
UNIT = "shoal-worker"


class BootedMachine:
    """A machine, looked at from inside."""

    def __init__(self, identifier: str, first: psutil.Process) -> None:
        self.identifier = identifier
        self.first = first

    def run(self, *command: str) -> str:
        """The output of a command inside. Raises CalledProcessError."""
        inside = ["nsenter", f"--target={self.first.pid}", "--all", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=True).stdout.strip()

    def worker(self) -> psutil.Process | None:
        """The process of its worker."""
        for one in self.first.children(recursive=True):
            try:
                if one.cmdline()[1:3] == ["-m", "app_tier"]:
                    return one
            except (psutil.Error, IndexError):
                continue  # it ended meanwhile
        return None

    def seconds_of(self, unit: str, point: str) -> float:
        """When a unit reached a point, on the clock of the kernel (time.monotonic)."""
        text = self.run("systemctl", "show", "--value", f"--property={point}TimestampMonotonic", unit)
        return int(text) / 1e6

    def seconds_of_file(self, path: str) -> float:
        """When a file was written, on the clock of the kernel."""
        return float(self.run("stat", "--format=%.9Y", path)) - time.time() + time.monotonic()

    def seconds_of_line(self, words: str) -> float:
        """When the worker logged a line with these words, on the clock of the kernel."""
        lines = self.run("journalctl", f"--unit={UNIT}", "--output=json", f"--grep={words}", "--lines=1").splitlines()
        return int(json.loads(lines[-1])["__MONOTONIC_TIMESTAMP"]) / 1e6


class MachineSystem:
    """A Shoal whose instances are machines."""

    def __init__(self, system: RunningSystem) -> None:
        self.system = system

    def booted(self) -> list[BootedMachine]:
        """The machines that run, each with its first process."""
        found = []
        for one in psutil.process_iter():
            try:
                command = " ".join(one.cmdline())
                if not command.startswith("/usr/bin/systemd-nspawn") or str(self.system.state_dir) not in command:
                    continue
                below = [child for child in one.children(recursive=True) if child.name() == "systemd"]
                identifier = command.partition("--machine=")[2].split()[0]
                found += [BootedMachine(identifier, below[0])] if below else []
            except psutil.Error:
                continue
        return found

    def working(self, least: int) -> list[BootedMachine]:
        """Wait until so many machines have a worker."""

        def have() -> bool:
            return len([one for one in self.booted() if one.worker()]) >= least

        wait_for(have, PATIENCE_SECONDS, lambda: f"no {least} machines with workers: {self.text()}", 0.1)
        return self.booted()

    def label(self, photo: str) -> str:
        """The best label of an example photo."""
        files = {"inputFile": (photo, (EXAMPLES / photo).read_bytes())}
        answer = requests.post(self.system.address, files=files, timeout=120)
        return answer.text.strip().rpartition(":")[2]

    def set(self, assignment: str) -> None:
        """Change a setting of the running system."""
        command = [sys.executable, "-m", "shoal_cli", "set", assignment]
        subprocess.run(command, cwd=ROOT, env=self.system.environment, check=True, capture_output=True)

    def wait_until_gone(self, identifiers: Set[str]) -> None:
        """Wait until these are terminated."""

        def gone() -> bool:
            return not identifiers & {one["InstanceId"] for one in self.system.machines()}

        wait_for(gone, PATIENCE_SECONDS, self.text, 0.25)

    def text(self) -> str:
        """What the terminal and the consoles say, for errors."""
        consoles = (self.system.state_dir / "cloud" / "instances").glob("*/console.log")
        return self.system.text()[-2000:] + "".join(f"\n{one}:\n{one.read_text()[-3000:]}" for one in consoles)


def first_label(machines: MachineSystem) -> dict[str, float]:
    """Launch one machine for one photo, and wait until it has left. Returns the parts of the time to the label."""
    asked = time.monotonic()
    with ThreadPoolExecutor(1) as aside:
        answer = aside.submit(machines.label, "cat.jpg")
        [machine] = machines.working(1)
        assert answer.result() == LABELS["cat.jpg"]
    labelled = time.monotonic()
    born = time.monotonic() - (time.time() - machine.first.create_time())
    points = [
        ("boot", machine.seconds_of("cloud-init-local.service", "InactiveExit")),
        ("cloud-init", machine.seconds_of_file("/run/shoal-worker.env")),
        ("start", machine.seconds_of_line(" ready: ")),
        ("first image", labelled),
    ]
    parts, before = {"launch": born - asked}, born
    for name, at in points:
        parts[name], before = at - before, at
    parts |= {"from pid 1": labelled - born, "(model)": machine.seconds_of_line(" loaded; ") - born}
    machines.system.wait_until_empty(PATIENCE_SECONDS)
    return parts


def kill_worker(machines: MachineSystem, machine: BootedMachine) -> float:
    """End the worker by SIGKILL. Returns the seconds until another runs."""
    worker = machine.worker()
    assert worker is not None
    worker.kill()
    began = time.monotonic()

    def another() -> bool:
        now = machine.worker()
        return now is not None and now.pid != worker.pid

    wait_for(another, CRON_SECONDS + PATIENCE_SECONDS, lambda: f"no other worker: {machines.text()}", 0.05)
    return time.monotonic() - began


def check(what: str, holds: bool) -> None:
    """Print a step that went well. Raises RuntimeError for one that did not."""
    if not holds:
        raise RuntimeError(what)
    print(f"  {what}", flush=True)


def timed(what: str, act: Callable[[], Any], most: float | None = None) -> Any:
    """Run a step, print how long it took. Raises RuntimeError when that is more than `most` seconds."""
    began = time.monotonic()
    result = act()
    spent = time.monotonic() - began
    check(f"{what}: {spent:.1f} s", most is None or spent <= most)
    return result


def show(launches: Sequence[Mapping[str, float]]) -> None:
    """Print the parts of each launch, and their medians."""
    names = list(launches[0])
    print("  " + "".join(f"{name:>13}" for name in names))
    for one in launches:
        print("  " + "".join(f"{one[name]:>11.2f} s" for name in names))
    medians = {name: statistics.median(one[name] for one in launches) for name in names}
    print("  " + "".join(f"{medians[name]:>11.2f} s" for name in names) + "  (medians)", flush=True)


def two_machines(machines: MachineSystem, is_judged: bool) -> None:
    """Ten photos on two machines, and two ways to lose a worker. is_judged: whether a slow restart is a failure.

    Cron takes up to a minute: meanwhile the next image is made.
    """
    system = machines.system
    machines.set("SHOAL_MIN_INSTANCES=2")
    first, second = timed("two machines have workers", lambda: machines.working(2))
    with ThreadPoolExecutor(PHOTOS) as aside:
        photos = [sorted(LABELS)[number % len(LABELS)] for number in range(PHOTOS)]
        answers = timed(f"{PHOTOS} photos", lambda: list(aside.map(machines.label, photos)))
    check(f"{PHOTOS} labels are right", answers == [LABELS[photo] for photo in photos])
    seconds = kill_worker(machines, first)
    check(
        f"kill -9: systemd has started another worker after {seconds:.1f} s",
        not is_judged or seconds <= RESTART_SECONDS,
    )
    second.run("systemctl", "mask", "--quiet", UNIT)
    with ThreadPoolExecutor(1) as aside:
        by_cron = aside.submit(kill_worker, machines, second)
        next_image(machines)
        seconds = by_cron.result()
    told = f"kill -9 with the unit masked: cron has started another worker after {seconds:.1f} s"
    check(told, not is_judged or seconds <= CRON_SECONDS)
    user = {one.worker().username() for one in (first, second) if one.worker()}
    check("no worker is root's", "root" not in user)
    check("a photo afterwards", machines.label("cat.jpg") == LABELS["cat.jpg"])
    machines.set("SHOAL_MIN_INSTANCES=0")
    timed("drained: both have powered off and are terminated", lambda: system.wait_until_empty(PATIENCE_SECONDS))


def next_image(machines: MachineSystem) -> None:
    """Stop a machine, make an image of it, and boot that."""
    ec2 = machines.system.client("ec2")
    named = [{"Name": "name", "Values": [machines.system.settings.image]}]
    [image] = ec2.describe_images(Owners=["self"], Filters=named)["Images"]

    def launch(image_id: str) -> BootedMachine:
        launched = ec2.run_instances(ImageId=image_id, InstanceType="t3.medium", MinCount=1, MaxCount=1)
        identifier = launched["Instances"][0]["InstanceId"]
        wait_for(
            lambda: identifier in [one.identifier for one in machines.booted()], PATIENCE_SECONDS, machines.text, 0.1
        )
        return next(one for one in machines.booted() if one.identifier == identifier)

    machine = launch(image["ImageId"])
    machine.run("sh", "-c", "echo changed >/etc/changed; rm /opt/shoal/prepared/answers.json")
    ec2.stop_instances(InstanceIds=[machine.identifier])
    ec2.get_waiter("instance_stopped").wait(InstanceIds=[machine.identifier], WaiterConfig={"Delay": 1})
    made = ec2.create_image(InstanceId=machine.identifier, Name="the-next")["ImageId"]
    timed("CreateImage of a stopped machine", lambda: ec2.get_waiter("image_available").wait(
        ImageIds=[made], WaiterConfig={"Delay": 1}
    ))  # fmt: skip
    other = launch(made)
    found = other.run("sh", "-c", "cat /etc/changed; ls /opt/shoal/prepared")
    check("its image boots, with what was changed", found.split() == ["changed", "photos"])
    ec2.terminate_instances(InstanceIds=[machine.identifier, other.identifier])
    timed("both are terminated", lambda: machines.wait_until_gone({machine.identifier, other.identifier}))


def bake(machines: MachineSystem) -> None:
    """`shoal bake` with a machine as the builder: it begins with the fresh Debian, and workers start from its image."""
    system = machines.system
    environment = system.environment | read_env_file(system.state_dir / "env")
    command = [sys.executable, "-m", "shoal_cli", "bake", "--from", DEBIAN, "--wheels", "--pause", "0.5"]
    timed("shoal bake", lambda: subprocess.run(command, cwd=ROOT, env=environment, check=True))
    images = system.client("ec2").describe_images(Filters=[{"Name": "tag:shoal:image", "Values": ["*"]}])["Images"]
    check("there is one image of it, and no builder", len(images) == 1 and not system.machines())
    with ThreadPoolExecutor(1) as aside:
        answer = aside.submit(machines.label, "cat.jpg")
        machines.working(1)
        started = {one["ImageId"] for one in system.machines()}
        check("a worker starts from it, and labels", answer.result() == LABELS["cat.jpg"])
    check("from no other", started == {images[0]["ImageId"]})
    system.wait_until_empty(PATIENCE_SECONDS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.running.machines")
    parser.add_argument("--short", action="store_true", help="launch once; print times without judging them")
    is_short = parser.parse_args(arguments).short
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shoal-machines-") as folder:
        system = RunningSystem(Path(folder) / "state", LOCAL_INSTANCES="machine", MAX_INSTANCES=2)
        machines = MachineSystem(system)
        timed("image", lambda: machine_image(system.settings))
        try:
            timed("shoal up", system.start)
            show([first_label(machines) for _ in range(1 if is_short else LAUNCHES)])
            two_machines(machines, is_judged=not is_short)
            if not is_short:
                bake(machines)
        finally:
            status = system.stop()
        check("shoal up ends in order, and nothing is left", status == 0 and not system.processes())
    print(f"  all: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
