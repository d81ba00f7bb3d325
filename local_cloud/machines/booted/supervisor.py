"""Boots one machine and stays its ancestor: what `init.py` is to an instance that is a process tree.

    python -I -S supervisor.py GRACE FOLDER PID_FILE with-program CPUS GROUPS IMAGE METADATA_URL PORTS

The other arguments and the socket on standard input are those of init.py. FOLDER is the machine's: its root/, work/ and
disk/ are the overlay over IMAGE. PORTS, separated by commas, are those of the cloud.

It makes a mount namespace and mounts the disk there; systemd-nspawn makes the machine's network. The listeners of the
relay are opened inside that network, and the relay itself works outside. When this process has ended in whatever way,
the kernel ends systemd-nspawn and the machine, and with them the mount and the network. Nothing is left behind.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from local_cloud.machines.booted.groups import MachineGroups
from local_cloud.machines.init import Init, descendants, enter, libc, say, signal_each

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
METADATA_ADDRESS = ("169.254.169.254", 80)
# To the metadata service. With another name cloud-init would ask for an address there, for a minute.
CABLE = "veth0"
MACHINE_ADDRESS = "169.254.169.1/24"
NETWORK = "/proc/{}/ns/net"
START_SECONDS = 30.0
# What is told of EC2's hypervisor on instances of the Xen kind.
HYPERVISOR_UUID = "ec2e1916-9099-7caf-fd21-012345abcdef\n"
RELAY = Path(__file__).with_name("relay.py")
BACKLOG = 128


def _call(name: str, *arguments: "int | str | None") -> None:
    """A function of the C library. Raises OSError."""
    encoded = [one.encode() if isinstance(one, str) else one for one in arguments]
    if libc[name](*encoded) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")


def mount_disk(image: str, folder: Path) -> None:
    """Mount the machine's disk where this process and what it starts see it, and nobody else."""
    _call("unshare", CLONE_NEWNS)
    _run("mount", "--make-rprivate", "/")
    # systemd-nspawn keeps folders there, which would outlive the machine.
    own = Path("/run/systemd/nspawn")
    own.mkdir(parents=True, exist_ok=True)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "none", str(own))
    options = f"lowerdir={image},upperdir={folder / 'root'},workdir={folder / 'work'}"
    _run("mount", "-t", "overlay", "-o", options, "overlay", str(folder / "disk"))


def network_of_a_descendant() -> "int | None":
    """A descriptor of the first network below this process that is another; None when there is none yet."""
    own = Path(NETWORK.format("self")).readlink()
    for pid in descendants():
        try:
            if Path(NETWORK.format(pid)).readlink() != own:
                return os.open(NETWORK.format(pid), os.O_RDONLY)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return None


def listen_inside(network: int, ports: "list[int]") -> "list[socket.socket]":
    """Sockets that listen in that network: the one of the metadata first. Raises OSError."""
    outside = os.open(NETWORK.format("self"), os.O_RDONLY)
    _call("setns", network, CLONE_NEWNET)
    try:
        _run("ip", "link", "set", "lo", "up")
        try:
            of_metadata = listen_beside(network)
        except OSError as error:
            say(f"the metadata service is inside the machine, where nothing else can have port 80: {error}")
            _call("setns", network, CLONE_NEWNET)
            _run("ip", "address", "add", f"{METADATA_ADDRESS[0]}/32", "dev", "lo")
            of_metadata = socket.create_server(METADATA_ADDRESS, backlog=BACKLOG)
        return [of_metadata, *(socket.create_server(("127.0.0.1", port), backlog=BACKLOG) for port in ports)]
    finally:
        _call("setns", outside, CLONE_NEWNET)
        os.close(outside)
        os.close(network)


def listen_beside(network: int) -> "socket.socket":
    """The socket of the metadata, in a network of its own that a cable joins to the machine's, as on EC2.

    Inside the machine's it would take port 80 from a web server that listens on all addresses. The socket keeps its
    network alive. This process is in the machine's network before and afterwards. Raises OSError.
    """
    _call("unshare", CLONE_NEWNET)
    beside = os.open(NETWORK.format("self"), os.O_RDONLY)
    try:
        _call("setns", network, CLONE_NEWNET)
        other_end = f"/proc/{os.getpid()}/fd/{beside}"
        _run("ip", "link", "add", CABLE, "type", "veth", "peer", "name", CABLE, "netns", other_end)
        _run("ip", "address", "add", MACHINE_ADDRESS, "dev", CABLE)
        _run("ip", "link", "set", CABLE, "up")
        _call("setns", beside, CLONE_NEWNET)
        _run("ip", "address", "add", f"{METADATA_ADDRESS[0]}/24", "dev", CABLE)
        _run("ip", "link", "set", CABLE, "up")
        listener = socket.create_server(METADATA_ADDRESS, backlog=BACKLOG)
        _call("setns", network, CLONE_NEWNET)
        return listener
    finally:
        os.close(beside)


class Supervisor(Init):
    """Starts the machine and its relay. A stop presses the machine's power button, as EC2 does."""

    def __init__(self, grace_seconds: float, working_folder: str, ends_with_program: bool) -> None:
        super().__init__(grace_seconds, working_folder, ends_with_program)
        self.groups = MachineGroups(Path(working_folder).name)

    def start_machine(self, image: str, metadata_url: str, ports: "list[int]") -> None:
        folder = Path(self.working_folder)
        mount_disk(image, folder)
        (folder / "hypervisor-uuid").write_text(HYPERVISOR_UUID)
        self.start_program(
            [
                "/usr/bin/systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot", "--console=read-only",
                f"--machine={folder.name}", f"--directory={folder / 'disk'}", "--private-network",
                # By it cloud-init knows that this is EC2.
                f"--bind-ro={folder / 'hypervisor-uuid'}:/sys/hypervisor/uuid",
                # All else of this machine stays outside.
                "--resolv-conf=off", "--timezone=off", "--link-journal=no", "--settings=no",
            ]
        )  # fmt: skip
        listeners = listen_inside(self._wait_for_its_network(), ports)
        descriptors = [str(listener.fileno()) for listener in listeners]
        for listener in listeners:
            listener.set_inheritable(True)
        self.spawn([sys.executable, "-I", "-S", str(RELAY), metadata_url, *descriptors], "/")
        for listener in listeners:
            listener.close()

    def host_died(self) -> None:
        self.kill_all()
        self.groups.remove()
        os._exit(1)

    def _wait_for_its_network(self) -> int:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.reap():
            found = network_of_a_descendant()
            if found is not None:
                return found
            time.sleep(0.005)
        raise OSError("systemd-nspawn has not started it")

    def ask_all_to_end(self) -> None:
        """Press the power button: systemd-nspawn tells the machine's systemd."""
        signal_each([self.program_pid], signal.SIGTERM)

    def reap(self) -> bool:
        """Reap ended processes; True when the machine has ended. The relay then ends as well."""
        pid = self.program_pid
        nothing_left = super().reap()
        if pid and self.program_status is not None:
            if self.program_status == 0 and self.deadline is None:
                self.tell("shutdown")
            if not nothing_left:
                self.program_pid = 0
                self.kill_all()
            return True
        return nothing_left


def main(arguments: "list[str]") -> None:
    grace_seconds, folder, pid_file, ends, cpus, groups, image, metadata_url, ports = arguments
    enter(pid_file, cpus, groups)
    supervisor = Supervisor(float(grace_seconds), folder, ends == "with-program")
    try:
        supervisor.start_machine(image, metadata_url, [int(port) for port in ports.split(",")])
        supervisor.live()
    except OSError as error:
        say(f"the machine cannot be started: {error}")
        supervisor.kill_all()
    supervisor.groups.remove()
    sys.exit(0 if supervisor.program_status == 0 or supervisor.deadline is not None else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
