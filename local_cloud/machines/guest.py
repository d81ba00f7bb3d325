"""What an instance has when it boots: its folders, its environment, its commands."""

import os
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from local_cloud import STATE_VARIABLE
from local_cloud.machines import programs
from local_cloud.machines.images import copy_tree

INSTANCE_MARKER = "LOCAL_CLOUD_INSTANCE"
BOOTHOOK = b"#cloud-boothook"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CRON_PATH = "/usr/bin:/bin"
CONSOLE_SHOWN_BYTES = 64 * 1024
CONSOLE_KEPT_BYTES = 4 * 1024 * 1024

_SHUTDOWN = """\
#!/bin/sh
# shutdown [-h|-P|-r] [now|+MINUTES]: ends this instance (-r: starts it again), as the real command would.
signal=TERM
minutes=0
for argument; do
    case "$argument" in
        -r|--reboot) signal=HUP ;;
        -c) echo "shutdown: a shutdown under way cannot be called off here" >&2; exit 1 ;;
        +[0-9]*) minutes="${argument#+}" ;;
    esac
done
pid="$(cat @PID_FILE@)"
if [ "$minutes" -gt 0 ]; then
    (sleep "$((minutes * 60))"; kill -s "$signal" "$pid") >/dev/null 2>&1 &
else
    kill -s "$signal" "$pid"
fi
"""
_SHORT_FORMS = {
    "poweroff": "TERM",
    "halt": "TERM",
    "reboot": "HUP",
}


class Guest:
    """The folder of one instance."""

    def __init__(self, identifier: str, folder: Path) -> None:
        self.identifier = identifier
        self.folder = folder
        self.root = folder / "root"
        self.temporary = folder / "tmp"
        self.user_data = folder / "user-data"
        self.console = folder / "console.log"
        self.pid_file = folder / "init.pid"
        self.record = folder / "record.json"
        self.cron_folder = self.root / "etc" / "cron.d"
        self._first_boot_done = folder / "first-boot-done"
        self._hidden = folder / "cron"

    @property
    def marker(self) -> str:
        """NAME=value in the environment of every process of this instance."""
        return f"{INSTANCE_MARKER}={self.identifier}"

    def prepare(self, image: Path) -> None:
        """Copy the image and add what every instance has. Raises ImageError, OSError."""
        copy_tree(image, self.root)
        self.temporary.mkdir(exist_ok=True)
        (self.root / "root").mkdir(exist_ok=True)
        commands = self.root / "usr" / "local" / "sbin"
        commands.mkdir(parents=True, exist_ok=True)
        pid_file = shlex.quote(str(self.pid_file))
        scripts = {name: f'#!/bin/sh\nkill -s {signal} "$(cat {pid_file})"\n' for name, signal in _SHORT_FORMS.items()}
        scripts["shutdown"] = _SHUTDOWN.replace("@PID_FILE@", pid_file)
        for name, text in scripts.items():
            # The image may hold a link to the system's own command there: never write through it.
            (commands / name).unlink(missing_ok=True)
            programs.write(commands / name, text.encode())
        self._hide_commands_from_cron(scripts)
        self._link_log()

    @property
    def cron_path(self) -> str:
        """The PATH of cron's jobs, as Debian's cron sets it: without sbin."""
        return f"{self._hidden}:{CRON_PATH}"

    def _hide_commands_from_cron(self, names: Iterable[str]) -> None:
        """Refuse the commands that end the machine: on some systems /usr/bin has those of the real machine."""
        self._hidden.mkdir(exist_ok=True)
        for name in names:
            text = f"#!/bin/sh\necho '{name}: not found (the PATH of cron is {CRON_PATH})' >&2\nexit 127\n"
            programs.write(self._hidden / name, text.encode())

    def _link_log(self) -> None:
        """Link the console to the file where cloud-init writes the output of user data."""
        folder = self.root / "var" / "log"
        # An image may link to folders of the real machine: never replace the machine's own log.
        if folder.resolve().is_relative_to(self.root.resolve()):
            folder.mkdir(parents=True, exist_ok=True)
            log = folder / "cloud-init-output.log"
            log.unlink(missing_ok=True)
            log.symlink_to(self.console)

    def take_first_boot(self, user_data: bytes) -> list[str]:
        """The user data's program at the first boot; at later boots only that of a boothook, as with cloud-init."""
        script = user_data.removeprefix(BOOTHOOK).lstrip()
        if self._first_boot_done.exists() and not user_data.startswith(BOOTHOOK):
            return []
        self._first_boot_done.touch()
        if not user_data:
            return []
        programs.write(self.user_data, script)
        if not script.startswith(b"#!"):
            self.log("the user data is not run: it does not begin with #! or #cloud-boothook")
            return []
        return [str(self.user_data)]

    def boot_scripts(self) -> str:
        """A shell command that runs the per-boot scripts in order; empty without scripts."""
        folder = self.root / "var" / "lib" / "cloud" / "scripts" / "per-boot"
        if not folder.is_dir():
            return ""
        scripts = [path for path in sorted(folder.iterdir()) if path.is_file() and os.access(path, os.X_OK)]
        return "; ".join(shlex.quote(str(path)) for path in scripts)

    def empty(self) -> None:
        """Delete the files of a terminated instance, except its console and its record."""
        for folder in (self.root, self.temporary):
            if folder.exists():
                shutil.rmtree(folder)

    def environment(self, state_folder: Path, endpoints: Mapping[str, str], metadata_url: str) -> dict[str, str]:
        """The whole environment of its processes. Keys come from the metadata service alone."""
        root = self.root
        return {
            "PATH": f"{root}/usr/local/sbin:{root}/bin:{root}/usr/local/bin:{SYSTEM_PATH}",
            "HOME": f"{root}/root",
            "TMPDIR": str(self.temporary),
            "LANG": "C.UTF-8",
            "INSTANCE_ROOT": str(root),
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata_url,
            STATE_VARIABLE: str(state_folder),
            INSTANCE_MARKER: self.identifier,
            **endpoints,
        }

    def log(self, text: str) -> None:
        """Add a line to the console, marked as the host's."""
        with self.console.open("a") as file:
            file.write(f"[host] {text}\n")

    def console_tail(self) -> bytes:
        """What GetConsoleOutput shows: the last 64 KiB."""
        if not self.console.exists():
            return b""
        with self.console.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - CONSOLE_SHOWN_BYTES))
            return file.read()

    def trim_console(self) -> None:
        """Keep only the tail of a console that has grown beyond 4 MiB. Lines written meanwhile may be lost."""
        if self.console.exists() and self.console.stat().st_size > CONSOLE_KEPT_BYTES:
            tail = self.console_tail()
            os.truncate(self.console, 0)
            with self.console.open("ab") as file:
                file.write(tail)
