"""The state folder: its owner, its content, and the file that tells others where the cloud answers."""

import fcntl
import os
import shlex
import shutil
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from local_cloud import STATE_VARIABLE, CloudError
from local_cloud.machines import processes


class FolderInUse(CloudError):
    """Another local cloud runs on the same state folder; the text names its process."""


class StateFolder:
    """The folder of one local cloud.

    env                     the cloud's endpoints and keys, while it runs
    logs/ministack.log      output of ministack (S3, SQS and others)
    cloud/lock              held while it runs; holds the pid of the holder
    cloud/services/         state of S3, SQS, SNS, DynamoDB and Lambda: survives a restart
    cloud/calls.jsonl       the calls that made roles, templates, groups, networks: survives a restart
    cloud/policies.json     the policies of all roles, for ministack's process
    cloud/used-by-roles-*.jsonl   which statements of policies have allowed something: a file for each process
    cloud/instances/<id>/   root/, tmp/, user-data, console.log, record.json: survives a restart
    cloud/images/<id>/      images made by CreateImage and CopyImage: survives a restart
    cloud/tmp/              emptied at every start
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.env = self.path / "env"
        self.logs = self.path / "logs"
        self.cloud = self.path / "cloud"
        self.services = self.cloud / "services"
        self.instances = self.cloud / "instances"
        self.images = self.cloud / "images"
        self.calls = self.cloud / "calls.jsonl"
        self.policies = self.cloud / "policies.json"
        self.temporary = self.cloud / "tmp"
        self._lock = -1

    @property
    def marker(self) -> str:
        """NAME=value in the environment of every process of this cloud but the first."""
        return f"{STATE_VARIABLE}={self.path}"

    def take(self) -> None:
        """Lock the folder for this process, and let only its owner read it. Raises FolderInUse, OSError.

        That holds for all files that this process and its children make from now on.
        """
        os.umask(0o077)
        self.logs.mkdir(parents=True, exist_ok=True)
        self.cloud.mkdir(exist_ok=True)
        found = self.path.stat()
        # A folder that belongs to somebody else, or to all as /tmp does, stays as it is.
        if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX:
            self.path.chmod(0o700)
        self._lock = os.open(self.cloud / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUse(f"{self.path} is in use by process {self._owner()}") from None
        # Children inherit it, so the next sweep finds them. /proc does not show it for this process itself.
        os.environ[STATE_VARIABLE] = str(self.path)
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, str(os.getpid()).encode(), 0)

    def _owner(self) -> str:
        # The owner writes its pid just after it has locked: wait for that.
        deadline = time.monotonic() + 1.0
        while not (owner := os.pread(self._lock, 32, 0).decode()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return owner or "(unknown)"

    def sweep(self) -> int:
        """Kill the processes that an earlier run left, and return their number. Only for the owner."""
        left = processes.kill_marked(self.marker)
        self.env.unlink(missing_ok=True)
        if self.temporary.exists():
            shutil.rmtree(self.temporary)
        for folder in (self.temporary, self.instances, self.images, self.services):
            folder.mkdir(exist_ok=True)
        return left

    def write_env(self, variables: Mapping[str, str]) -> None:
        """Write `env` in one step, readable by its owner only, in the form that `set -a; . env` takes."""
        draft = self.cloud / "env.draft"
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
        draft.replace(self.env)

    def remove_env(self) -> None:
        self.env.unlink(missing_ok=True)
