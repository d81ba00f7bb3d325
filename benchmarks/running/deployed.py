"""`python -m benchmarks.running.deployed`: docs/deploy.md to its end, on the embedded cloud with machines.

`shoal deploy` makes the stack on moto's CloudFormation. The page's instance is a machine: systemd boots it, cloud-init
runs its user data, which fetches the program, installs it, and starts page and controller in the instance's role. The
command waits for the page and has a first photo labelled through its address, by a worker that the controller
launches. Then come `shoal upgrade --list` and `shoal destroy`. It ends with status 1 when a step fails.

What differs from AWS: moto's CloudFormation keeps buckets, queues and tables where nobody finds them, so those that the
programs use are made beforehand; the machine has Debian's and Python's packages already (`ami/machine-tree`), for it
has no way out. It needs root, systemd-nspawn and mmdebstrap.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.running.machines import check, timed
from benchmarks.running.processes import client_of
from benchmarks.running.system import ROOT
from benchmarks.running.waiting import wait_for
from shoal.aws.deploying.account import code_bucket
from shoal.settings import Settings, load, read_env_file
from shoal_cli.up import DEBIAN, machine_image

PREFIX = "deployed"
START_SECONDS = 120.0
MODULE = "benchmarks.running.deployed"
# moto forgets the outputs of a stack that a change set has made.
CLOUD = """
import sys
from moto.cloudformation.models import ChangeSet
from local_cloud.__main__ import main

apply = ChangeSet.apply

def applied(change_set):
    apply(change_set)
    stack = change_set.stack
    stack.template = change_set.template
    stack._parse_template()
    stack.output_map = stack._create_output_map()

ChangeSet.apply = applied
sys.exit(main())
"""


class DeployingPerson:
    """A person with the `shoal` command and an account, which is the embedded cloud in a folder."""

    def __init__(self, state_dir: Path) -> None:
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SHOAL_"))}
        own = {"PREFIX": PREFIX, "STATE_DIR": state_dir / "own", "INSTANCE_TYPE": "t3.medium", "QUIET_SECONDS": 3}
        cache = {name: os.environ[name] for name in ("SHOAL_CACHE_DIR",) if name in os.environ}
        self.state_dir = state_dir
        self.environment = plain | cache | {f"SHOAL_{name}": str(value) for name, value in own.items()}

    @property
    def settings(self) -> Settings:
        """Those that the person has chosen."""
        return load(self.environment)

    def client(self, service: str) -> Any:
        """A boto3 client of the account's owner."""
        return client_of(self.environment, service)

    @contextmanager
    def account(self) -> Iterator[None]:
        """The embedded cloud, with the images of the workers and of Debian, while the context lasts."""
        images = {self.settings.image: machine_image(self.settings), DEBIAN: page_tree(self.settings)}
        command = [sys.executable, "-c", CLOUD, "--state-dir", str(self.state_dir), "--instances", "machine"]
        for name, folder in images.items():
            command += ["--image", f"{name}={folder}"]
        self.state_dir.mkdir(parents=True)
        with (self.state_dir / "cloud.log").open("wb") as log:
            cloud = subprocess.Popen(command, cwd=ROOT, env=self.environment, stdout=log, stderr=log)
        try:
            env = self.state_dir / "env"
            wait_for(env.exists, START_SECONDS, lambda: (self.state_dir / "cloud.log").read_text())
            self.environment |= read_env_file(env)
            yield
        finally:
            cloud.terminate()
            cloud.wait(60)

    def make_stores(self) -> None:
        """Make what moto's CloudFormation keeps to itself: buckets, queues, the table."""
        prepare = "from shoal import settings; from shoal.aws import prepare; prepare(settings.load())"
        subprocess.run([sys.executable, "-c", prepare], cwd=ROOT, env=self.environment, check=True)
        self.client("s3").create_bucket(Bucket=code_bucket(self.settings))
        # The workers' role is the stack's.
        iam, role = self.client("iam"), self.settings.role
        iam.remove_role_from_instance_profile(InstanceProfileName=role, RoleName=role)
        iam.delete_instance_profile(InstanceProfileName=role)
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            iam.delete_role_policy(RoleName=role, PolicyName=name)
        iam.delete_role(RoleName=role)

    def shoal(self, *words: str) -> str:
        """Run a command, show what it prints, and return it. Raises RuntimeError when it fails."""
        lines = []
        command = [sys.executable, "-m", "shoal_cli", *words]
        with subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"    {line}", end="", flush=True)
                lines.append(line)
        if process.returncode:
            raise RuntimeError(f"shoal {words[0]} ended with {process.returncode}: {self.consoles()}")
        return "".join(lines)

    def consoles(self) -> str:
        """What the machines' consoles say at last, for errors."""
        places = (self.state_dir / "cloud" / "instances").glob("*/console.log")
        return "".join(f"\n{one}:\n{one.read_text(errors='replace')[-6000:]}" for one in places)

    def open_the_page(self, stop: threading.Event) -> None:
        """Let the page's public address, which is one of this machine's own, lead to the page's instance."""
        while not stop.wait(0.5):
            for address in self.client("ec2").describe_addresses()["Addresses"]:
                first = self._first_process(address.get("InstanceId", ""))
                if first is not None:
                    with socket.create_server((address["PublicIp"], 80), backlog=128) as listener:
                        # The listener stays in the network in which it was opened.
                        command = ["nsenter", f"--net=/proc/{first}/ns/net", sys.executable, "-m", MODULE]
                        way = subprocess.Popen(
                            [*command, str(listener.fileno())], cwd=ROOT, pass_fds=[listener.fileno()]
                        )
                        stop.wait()
                        way.terminate()
                        way.wait()
                    return

    def _first_process(self, instance: str) -> int | None:
        """The first process of a machine, when it runs."""
        for one in psutil.process_iter():
            try:
                if f"--machine={instance}" in one.cmdline():
                    return next((child.pid for child in one.children(True) if child.name() == "systemd"), None)
            except psutil.Error:
                continue
        return None


def page_tree(chosen: Settings) -> Path:
    """A Debian with what the page's instance installs. Raises CalledProcessError."""
    command: list[str | Path] = [ROOT / "ami" / "machine-tree", chosen.cache_dir.absolute() / "machines", "page"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.splitlines()[-1])


def lead(listener: socket.socket) -> None:
    """Pass connections on to port 80 of the network in which this process is, until it is ended."""
    while True:
        caller, _ = listener.accept()
        try:
            page = socket.create_connection(("127.0.0.1", 80))
        except OSError:
            caller.close()
            continue
        for source, target in ((caller, page), (page, caller)):
            threading.Thread(target=pump, args=(source, target), daemon=True).start()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass bytes on until the end of them."""
    try:
        while chunk := source.recv(1 << 16):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        source.close()
        target.close()


def deploy(person: DeployingPerson) -> None:
    """`shoal deploy`, to the label of the first photo."""
    images = person.client("ec2").describe_images(Owners=["self"])["Images"]
    [debian] = [one["ImageId"] for one in images if one["Name"] == DEBIAN]
    stop = threading.Event()
    way = threading.Thread(target=person.open_the_page, args=(stop,))
    way.start()
    try:
        told = person.shoal("deploy", "--page-image", debian, "--visitors", "127.0.0.1/32")
        check("a first photo is labelled through the page's address", "The first photo: " in told)
        check("the console shows what the controller does", "INFO    controller: watching" in person.consoles())
        again = person.shoal("deploy", "--no-wait")
        check("the same command again changes nothing", "Nothing was to change." in again)
    finally:
        stop.set()
        way.join()


def destroy(person: DeployingPerson) -> None:
    """`shoal destroy`, until nothing is left."""
    told = person.shoal("destroy", "--yes", "--delete-photos")
    check("nothing is left", f"Nothing tagged shoal:{PREFIX} is left." in told)


def main(arguments: Sequence[str]) -> int:
    """Returns the exit status."""
    if arguments:
        lead(socket.socket(fileno=int(arguments[0])))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="shoal-deployed-") as folder:
        person = DeployingPerson(Path(folder) / "account")
        with person.account():
            timed("an account with buckets, queues and a table", person.make_stores)
            timed("shoal deploy", lambda: deploy(person))
            denied = [line for line in person.consoles().splitlines() if "AccessDenied" in line]
            check("no role was denied anything", not denied)
            person.shoal("upgrade", "--list")
            timed("shoal destroy", lambda: destroy(person))
    print(f"  all: {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
